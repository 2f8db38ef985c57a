"""Conditions that are pictures, series and the like: checked, dropped, saved and read as what they are."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import Subset, TensorDataset

from flowprior import Flow, Prior, train
from flowprior.conditions import Condition, Parts
from flowprior.conditions.rows import embeddings_in, flat, numbers_in
from flowprior.conditions.values import kind_of
from flowprior.data import TensorData
from flowprior.data.base import as_data, data_digest
from flowprior.errors import InputError, OptionError
from flowprior.models import build_model
from tests.conditions.short import SHORT

COUNT = 48
PICTURES = Condition.of_shape((1, 2, 2))


def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures 4 × 4, and the means of their quarters."""
    x = torch.tanh(torch.randn(COUNT, 1, 4, 4, generator=torch.Generator().manual_seed(1)))
    return x, torch.nn.functional.avg_pool2d(x, 2)


def test_shape_is_read_off_the_data_and_survives_a_file():
    found = Condition.of(torch.zeros(3, 1, 2, 2))
    assert found == PICTURES
    assert (found.kind, found.size, found.shape) == ("tensor", 4, (1, 2, 2))
    assert Condition.from_dict(found.as_dict()) == found
    assert Condition.of_shape((7,)) == Condition("embeddings", 7)
    assert found.null(torch.ones(2, 1, 2, 2)).tolist() == torch.zeros(2, 1, 2, 2).tolist()


@pytest.mark.parametrize(
    "given",
    [
        ("tensor", 4, ()),
        ("tensor", 5, (1, 2, 2)),
        ("tensor", 3, (2, 2)),
        ("tensor", 0, (0, 2)),
        ("tensor", 4, (-2, -2)),
        ("labels", 4, (2, 2)),
    ],
)
def test_a_shape_belongs_to_tensors_and_has_their_size(given):
    kind, size, shape = given
    with pytest.raises(InputError, match="expected the shape of a tensor"):
        Condition(kind, size, shape=shape)


@pytest.mark.parametrize("cond", [torch.zeros(3, 4), torch.zeros(3, 1, 2, 3), torch.zeros(3, 1, 2, 2).long()])
def test_another_shape_is_refused(cond):
    with pytest.raises(InputError, match=r"expected a floating-point tensor \[B, 1, 2, 2\], got"):
        PICTURES.check(cond, "model")


@pytest.mark.parametrize(
    ("shape", "floats", "integers"),
    [
        ((), "none", "none"),
        ((3,), "none", "labels"),
        ((3, 2), "embeddings", "none"),
        ((3, 2, 2), "tensor", "none"),
        ((3, 1, 2, 2), "tensor", "none"),
    ],
)
def test_the_kind_of_a_value_is_read_off_its_type_and_dimensions(shape, floats, integers):
    for dtype, kind in ((torch.float32, floats), (torch.bfloat16, floats), (torch.long, integers)):
        assert kind_of(torch.zeros(shape, dtype=dtype)) == kind


def test_numbers_of_a_tensor_are_no_embedding():
    _, cond = pictures()
    assert kind_of(cond) == "tensor"
    assert embeddings_in(cond) is None
    assert torch.equal(numbers_in(cond), cond.flatten(1))
    parts = Parts({"picture": cond, "caption": torch.ones(COUNT, 3), "label": torch.arange(COUNT)})
    assert numbers_in(parts).shape == (COUNT, 7)
    assert torch.equal(flat(cond), cond.flatten(1))
    assert flat(torch.zeros(3, 2, 5)).shape == (3, 10)
    assert flat(torch.arange(3)).shape == (3,)


def test_a_torch_dataset_keeps_the_shape_of_its_conditions():
    x, cond = pictures()
    data = as_data(Subset(TensorDataset(x, cond), range(COUNT)))
    assert data.condition == PICTURES
    assert torch.equal(data.batch(torch.tensor([3, 1]))[1], cond[[3, 1]])
    other = TensorData(x, cond.flip(0))
    assert data_digest(TensorData(x, cond)) != data_digest(other)


@pytest.mark.parametrize(
    "model", ["unet:widths=8-16,patch=1", "mlp:width=16,depth=1", "dit:patch=2,width=16,depth=1,heads=2"]
)
def test_a_flow_is_trained_sampled_and_saved(tmp_path, model):
    flow = train(
        pictures(),
        prior="learned-mean:covariance=diagonal,epochs=2,steps=4,hidden=32,depth=1",
        coupling="condot",
        model=model,
        prediction="preconditioned",
        condition_dropout=0.3,
        **SHORT,
    )
    _, cond = pictures()
    drawn = flow.sample(cond[:5], nfe=2, guidance=1.5, generator=torch.Generator().manual_seed(0))
    assert drawn.shape == (5, 1, 4, 4)
    assert torch.isfinite(drawn).all()
    flow.save(tmp_path / "flow")
    again = Flow.load(tmp_path / "flow").sample(
        cond[:5], nfe=2, guidance=1.5, generator=torch.Generator().manual_seed(0)
    )
    assert torch.equal(drawn, again)
    assert torch.isfinite(flow.log_prob(pictures()[0][:2], cond[:2])).all()


def test_the_unet_sees_where_in_the_condition_something_is():
    model = build_model("unet:widths=8-16,patch=1", torch.Size([1, 4, 4]), PICTURES)
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x, t = torch.zeros(1, 1, 4, 4), torch.zeros(1)
    first, second = torch.zeros(2, 1, 1, 2, 2)
    first[..., 0, 0], second[..., 1, 1] = 1.0, 1.0
    assert not torch.allclose(model(x, t, first), model(x, t, second))
    with pytest.raises(InputError, match=r"expected a picture \[B, 1, 2, 2\] as condition, got None"):
        model(x, t, None)


def test_diffusers_refuse_a_picture_in_one_line():
    with pytest.raises(OptionError, match="use model 'unet'"):
        build_model("diffusers:widths=8", torch.Size([1, 4, 4]), PICTURES)


def test_priors_of_embeddings_take_a_tensor_by_its_numbers():
    x, cond = pictures()
    generator = torch.Generator().manual_seed(0)
    own = Prior.create("kernel-mean").fit((x, cond), generator=generator)
    rows = Prior.create("kernel-mean").fit((x, cond.flatten(1)), generator=generator)
    assert torch.equal(own.mean(cond[:4]), rows.mean(cond[:4].flatten(1)))


def test_changing_shapes_are_refused_while_fitting():
    x, cond = pictures()
    batches = [(x[:8], cond[:8]), (x[8:], cond[8:, :, :1])]
    with pytest.raises(InputError, match=r"expected conditions \[1, 2, 2\]"):
        Prior.create("learned-mean", epochs=1).fit(batches)


def fitted_mean(x: torch.Tensor, cond: torch.Tensor) -> Prior:
    spec = "learned-mean:covariance=diagonal,steps=8,hidden=128,depth=1"
    return Prior.registry.resolve(spec).fit((x, cond), generator=torch.Generator().manual_seed(0))


def test_events_and_conditions_of_other_precision_are_taken_and_no_rows_give_none():
    x, cond = pictures()
    prior = fitted_mean(x, cond.double())
    assert prior.sample(cond[:3].double()).dtype == x.dtype
    assert prior.sample(cond[:0]).shape == (0, 1, 4, 4)


def test_a_prior_refuses_pictures_that_lie_another_way():
    x = torch.rand(COUNT, 1, 4, 8)
    prior = fitted_mean(x, torch.nn.functional.avg_pool2d(x, 2))
    assert prior.mean(torch.rand(2, 1, 2, 4)).shape == (2, 1, 4, 8)
    with pytest.raises(InputError, match=r"expected conditions \[1, 2, 4\], got \[1, 4, 2\]"):
        prior.mean(torch.rand(2, 1, 4, 2))


def test_every_pixel_counts_of_a_condition_that_is_larger_than_the_event():
    x = torch.rand(COUNT, 1, 4, 4)
    large = torch.nn.functional.interpolate(x, (16, 16), mode="nearest").requires_grad_()
    prior = fitted_mean(x, large.detach())
    assert prior.network is not None
    torch.nn.init.normal_(prior.network.out.weight)
    prior.network(large).square().sum().backward()
    assert (large.grad != 0).double().mean() > 0.95


def test_a_picture_of_zeros_that_was_fitted_to_is_no_null_condition():
    x, cond = pictures()
    cond = cond.clone()
    cond[3] = 0
    prior = fitted_mean(x, cond)
    assert not len(prior.seen.rows)
    near = prior.mean(torch.full((1, 1, 2, 2), 1e-7))
    assert torch.allclose(prior.mean(torch.zeros(1, 1, 2, 2)), near, atol=1e-4)


def test_what_is_looked_at_of_large_conditions_is_bounded():
    from flowprior.priors.seen_conditions import rows_looked_at

    assert rows_looked_at(384) == 4096
    assert rows_looked_at(3 * 64 * 64) == 1365
    assert rows_looked_at(1 << 24) == 256
