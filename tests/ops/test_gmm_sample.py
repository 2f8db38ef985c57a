"""Draws of a mixture: their law, their components, and what they are made of."""

from __future__ import annotations

import pytest
import torch

from flowprior.errors import DerivativeError, InputError
from flowprior.ops import draw_component, gmm_sample, select_component, standard_normal, uniform

from .mixtures import mixture


@pytest.mark.parametrize("spherical", [False, True])
@pytest.mark.parametrize("event", [(1,), (7,), (2, 3, 2)])
def test_a_draw_is_mean_and_scaled_noise_of_its_component(event, spherical, generator):
    logits, mean, scale = mixture(generator, event=event, spherical=spherical)
    cond = torch.arange(50) % 3
    seed = torch.tensor([123])
    x0, component = gmm_sample(logits, mean, scale, cond, seed)
    assert x0.shape == (50, *event)
    assert torch.equal(component, draw_component(logits, cond, seed))
    assert torch.equal(component, select_component(logits[cond], uniform(seed, 50)))
    noise = standard_normal(50, mean[0, 0].numel(), mean, seed).reshape(x0.shape)
    spread = scale[cond, component].reshape(50, *([1] * len(event) if spherical else event))
    torch.testing.assert_close(x0, mean[cond, component] + spread * noise, rtol=1e-12, atol=1e-12)


def test_components_come_as_often_as_their_weights_say(generator):
    logits = torch.tensor([[0.0, 0.5, 0.125, 0.0, 0.375], [0.2, 0.2, 0.2, 0.2, 0.2]]).log() + 3.0
    draws = 40_000
    cond = torch.arange(draws) % 2
    mean = torch.arange(5.0).expand(2, 5)[..., None].contiguous()
    x0, component = gmm_sample(logits, mean, torch.full((2, 5, 1), 1e-3), cond, generator)
    assert torch.equal(x0[:, 0].round().long(), component)
    for c in range(2):
        weight = logits[c].softmax(0)
        share = torch.bincount(component[cond == c], minlength=5) / (draws / 2)
        assert ((share - weight).abs() <= 5 * (weight * (1 - weight) / (draws / 2)).sqrt()).all()
        assert ((share > 0) == (weight > 0)).all(), "an excluded component is never drawn"


def test_a_row_depends_on_its_own_condition_and_place_alone(generator):
    tables = mixture(generator, event=(9,))
    cond = torch.randint(3, (200,), generator=generator)
    x0, component = gmm_sample(*tables, cond, 9)
    shorter, same = gmm_sample(*tables, cond[:17], 9)
    assert torch.equal(shorter, x0[:17])
    assert torch.equal(same, component[:17])
    other = cond.clone()
    other[1:] = (other[1:] + 1) % 3
    assert torch.equal(gmm_sample(*tables, other, 9)[0][0], x0[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_once(dtype, generator):
    tables = mixture(generator, event=(129,), dtype=dtype)
    cond = torch.arange(31) % 3
    exact, component = gmm_sample(*(table.double() for table in tables), cond, 4)
    x0, same = gmm_sample(*tables, cond, 4)
    assert x0.dtype == dtype
    assert torch.equal(component, same)
    torch.testing.assert_close(x0.double(), exact, rtol=torch.finfo(dtype).eps, atol=1e-6)


def test_no_rows_and_many_strides(generator):
    logits, mean, scale = mixture(generator, event=(6,))
    x0, component = gmm_sample(logits, mean, scale, torch.zeros(0, dtype=torch.long), 1)
    assert x0.shape == (0, 6)
    assert component.shape == (0,)
    cond = torch.arange(20) % 3
    expected = gmm_sample(logits, mean, scale, cond, 1)[0]
    strided = [torch.stack([table, table], -1)[..., 0] for table in (logits, mean, scale)]
    turned = mean.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    assert torch.equal(gmm_sample(*strided, cond.repeat_interleave(2)[::2], 1)[0], expected)
    assert torch.equal(gmm_sample(logits, turned, scale, cond, 1)[0], expected)


def test_draws_are_not_differentiable_and_say_so(generator):
    logits, mean, scale = mixture(generator)
    x0, _ = gmm_sample(logits, mean.requires_grad_(), scale, torch.zeros(3, dtype=torch.long), 1)
    with pytest.raises(DerivativeError, match=r"gmm_sample: a draw .* use mean \+ scale \* noise"):
        x0.sum().backward()


@pytest.mark.parametrize(("label", "message"), [(3, "label 3"), (-1, "label -1"), (1 << 40, "label 1099511")])
def test_unknown_labels_are_refused(label, message, generator):
    with pytest.raises(InputError, match=f"gmm_sample: cond has {message}.* conditions 0..2"):
        gmm_sample(*mixture(generator), torch.tensor([0, label]), 1)


@pytest.mark.parametrize(
    ("logits", "mean", "scale"),
    [
        ((3,), (3, 4, 5), (3, 4, 5)),
        ((3, 4), (3, 4), (3, 4)),
        ((3, 4), (3, 2, 5), (3, 2, 5)),
        ((3, 4), (3, 4, 5), (3, 4)),
        ((3, 4), (3, 4, 5), (3, 4, 2)),
        ((3, 0), (3, 0, 5), (3, 0, 5)),
        ((3, 4), (3, 4, 0), (3, 4, 0)),
        ((3, 4), (3, 4, 2, 2), (3, 4, 1, 2)),
    ],
)
def test_tables_that_do_not_fit(logits, mean, scale):
    cond = torch.zeros(2, dtype=torch.long)
    with pytest.raises(InputError, match=r"gmm_sample: expected logits \[C, K\], mean .* none of them empty"):
        gmm_sample(torch.zeros(logits), torch.zeros(mean), torch.ones(scale), cond, 1)


def test_mixed_dtypes_and_other_labels_are_refused(generator):
    logits, mean, scale = mixture(generator)
    cond = torch.zeros(2, dtype=torch.long)
    with pytest.raises(
        InputError, match=r"expected one floating-point dtype and one device, got logits .*32"
    ):
        gmm_sample(logits.float(), mean, scale, cond, 1)
    with pytest.raises(InputError, match=r"expected cond as int64 \[B\] on cpu, got torch.float32 \[2\]"):
        gmm_sample(logits, mean, scale, cond.float(), 1)
    with pytest.raises(InputError, match=r"expected cond as int64 \[B\] on cpu, got torch.int64 \[2, 1\]"):
        gmm_sample(logits, mean, scale, cond[:, None], 1)
    same = gmm_sample(logits, mean, scale, cond.to(torch.uint8), 1)[0]
    assert torch.equal(same, gmm_sample(logits, mean, scale, cond, 1)[0])
