"""Draws of a mixture: their distribution on each back end, their components, their derivatives, refusals."""

from __future__ import annotations

import pytest
import torch

from flowprior.errors import InputError
from flowprior.ops import gmm_sample
from flowprior.ops.backend import native_devices
from flowprior.ops.gmm_sample import plain_gmm_sample

from .mixtures import mixture


def drawn(*arguments, seed=1):
    """A draw by the generator of this seed."""
    return gmm_sample(*arguments, generator=torch.Generator().manual_seed(seed))


@pytest.mark.usefixtures("back_end")
@pytest.mark.parametrize("spherical", [False, True])
@pytest.mark.parametrize("event", [(1,), (7,), (2, 3, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_a_draw_has_mean_and_deviation_of_its_component(dtype, event, spherical, generator):
    """Standardised, it is standard normal in every coordinate: mean and variance within 5 standard errors."""
    tables = mixture(generator, event=event, spherical=spherical, dtype=dtype)
    cond = torch.arange(6_000) % 3
    x0, component = gmm_sample(*tables, cond, generator=generator)
    assert x0.shape == (6_000, *event)
    assert x0.dtype == dtype
    _, mean, scale = (table.double() for table in tables)
    spread = scale[cond, component].reshape(-1, *([1] * len(event) if spherical else event))
    noise = ((x0.double() - mean[cond, component]) / spread).flatten(1)
    assert (noise.mean(0).abs() < 5 / 6_000**0.5).all()
    assert ((noise.var(0) - 1).abs() < 5 * (2 / 6_000) ** 0.5).all()


@pytest.mark.skipif("cpu" not in native_devices(), reason="no native operators")
def test_both_back_ends_draw_the_same_distribution(generator):
    """Two-sample Kolmogorov-Smirnov, coordinate by coordinate: 1.95 has probability 0.001; and the shares."""
    tables, n = mixture(generator, 1, 4, (3,), dtype=torch.float32), 40_000
    cond = torch.zeros(n, dtype=torch.long)
    (one, k), (other, j) = drawn(*tables, cond), plain_gmm_sample(*tables, cond, generator)
    for a, b in zip(one.T, other.T, strict=True):
        points = torch.cat([a, b]).sort().values
        gaps = [torch.searchsorted(x.sort().values, points, right=True) / n for x in (a, b)]
        assert float((gaps[0] - gaps[1]).abs().max()) * (n / 2) ** 0.5 < 1.95
    shares = [torch.bincount(component, minlength=4) / n for component in (k, j)]
    assert ((shares[0] - shares[1]).abs() < 5 * (2 * shares[0] / n).sqrt()).all()


@pytest.mark.usefixtures("back_end")
def test_components_come_as_often_as_their_weights_say(generator):
    logits = torch.tensor([[0.0, 0.5, 0.125, 0.0, 0.375], [0.2, 0.2, 0.2, 0.2, 0.2]]).log() + 3.0
    draws = 40_000
    cond = torch.arange(draws) % 2
    mean = torch.arange(5.0).expand(2, 5)[..., None].contiguous()
    x0, component = gmm_sample(logits, mean, torch.full((2, 5, 1), 1e-3), cond, generator=generator)
    assert torch.equal(x0[:, 0].round().long(), component)
    for c in range(2):
        weight = logits[c].softmax(0)
        share = torch.bincount(component[cond == c], minlength=5) / (draws / 2)
        assert ((share - weight).abs() <= 5 * (weight * (1 - weight) / (draws / 2)).sqrt()).all()
        assert ((share > 0) == (weight > 0)).all(), "an excluded component is never drawn"


def test_one_component_is_drawn_as_the_gaussian_that_it_is():
    """Its draw takes no random number besides the noise."""
    cond, mean, scale = torch.tensor([1, 0, 1]), torch.randn(2, 1, 4), torch.rand(2, 1, 4)
    x0, component = plain_gmm_sample(torch.zeros(2, 1), mean, scale, cond, torch.Generator().manual_seed(1))
    noise = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(x0, mean[cond, 0] + scale[cond, 0] * noise)
    assert component.tolist() == [0, 0, 0]


@pytest.mark.usefixtures("back_end")
def test_no_rows_and_many_strides(generator):
    logits, mean, scale = mixture(generator, event=(6,))
    x0, component = drawn(logits, mean, scale, torch.zeros(0, dtype=torch.long))
    assert x0.shape == (0, 6)
    assert component.shape == (0,)
    cond = torch.arange(20) % 3
    expected = drawn(logits, mean, scale, cond)[0]
    strided = [torch.stack([table, table], -1)[..., 0] for table in (logits, mean, scale)]
    turned = mean.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    assert torch.equal(drawn(*strided, cond.repeat_interleave(2)[::2])[0], expected)
    assert torch.equal(drawn(logits, turned, scale, cond)[0], expected)


@pytest.mark.usefixtures("back_end")
def test_a_draw_is_differentiable_in_mean_and_scale(generator):
    logits, mean, scale = mixture(generator)
    cond = torch.tensor([0, 2, 2])
    x0, component = drawn(logits, mean.requires_grad_(), scale.requires_grad_(), cond)
    noise = ((x0 - mean[cond, component]) / scale[cond, component]).detach()
    x0.sum().backward()
    expected = torch.zeros_like(scale).index_put((cond, component), noise, accumulate=True)
    torch.testing.assert_close(scale.grad, expected)
    assert mean.grad is not None
    assert mean.grad.sum() == x0.numel()


@pytest.mark.parametrize(("label", "message"), [(3, "label 3"), (-1, "label -1"), (1 << 40, "label 1099511")])
def test_unknown_labels_are_refused(label, message, generator):
    with pytest.raises(InputError, match=f"gmm_sample: cond has {message}.* conditions 0..2"):
        drawn(*mixture(generator), torch.tensor([0, label]))


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
        gmm_sample(torch.zeros(logits), torch.zeros(mean), torch.ones(scale), cond)


def test_mixed_dtypes_and_other_labels_are_refused(generator):
    logits, mean, scale = mixture(generator)
    cond = torch.zeros(2, dtype=torch.long)
    with pytest.raises(
        InputError, match=r"expected one floating-point dtype and one device, got logits .*32"
    ):
        drawn(logits.float(), mean, scale, cond)
    with pytest.raises(InputError, match=r"expected cond as int64 \[B\] on cpu, got torch.float32 \[2\]"):
        drawn(logits, mean, scale, cond.float())
    with pytest.raises(InputError, match=r"expected cond as int64 \[B\] on cpu, got torch.int64 \[2, 1\]"):
        drawn(logits, mean, scale, cond[:, None])
    same = drawn(logits, mean, scale, cond.to(torch.uint8))[0]
    assert torch.equal(same, drawn(logits, mean, scale, cond)[0])
