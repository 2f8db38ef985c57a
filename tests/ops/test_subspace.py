"""Source samples and the network's view of a subspace prior: natively, by plain torch, of drawn pairs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from flowprior.couplings.pair_law import LEAST_VARIANCE, PairLaw
from flowprior.ops.operators import is_native
from flowprior.ops.subspace import transposed_bases
from flowprior.paths import CondOTPath
from flowprior.priors.frame import Axes, Frame

NATIVE = is_native(torch.device("cpu"))
FLOOR = 0.2


def normal(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def linear(generator, rows, dim, rank, basis=None):
    """The linear part of each row, of three conditions."""
    basis = torch.linalg.qr(normal(generator, 3, dim, rank)).Q if basis is None else basis
    loc, noise, spread = (
        normal(generator, rows, dim),
        normal(generator, rows, dim),
        normal(generator, rows, rank),
    )
    group = torch.arange(rows) % 3
    axes = Axes(basis, group, lambda: basis.square().sum(2), lambda: transposed_bases(basis))
    return Frame(loc, 0.3 + noise.abs(), 1.2 + spread.square(), axes, FLOOR)


def view(frame, x, t):
    return PairLaw.of(frame, 1 - 1 / frame.spread).standardised(x, CondOTPath().at(t))


@pytest.mark.skipif(not NATIVE, reason="no native operators")
@pytest.mark.parametrize(("rows", "dim", "rank"), [(11, 20, 3), (40, 70, 8), (1, 1, 1), (0, 5, 2), (9, 4, 4)])
def test_the_native_operators_are_the_formulas_row_by_row(rows, dim, rank, generator):
    frame = linear(generator, rows, dim, rank)
    x, epsilon, latent = (
        normal(generator, rows, dim),
        normal(generator, rows, dim),
        normal(generator, rows, rank),
    )
    plain = replace(frame, axes=replace(frame.axes, transposed=None))
    t = torch.rand(rows, generator=generator).double()
    assert frame.tables(x, latent) is not None
    assert plain.tables(x) is None
    for of in (
        lambda f: f.source(x, latent, epsilon),
        lambda f: f.place(latent, epsilon),
        lambda f: torch.stack(view(f, x, t)),
    ):
        torch.testing.assert_close(of(frame), of(plain), rtol=1e-11, atol=1e-11)
    if rows > 9:  # a row does not depend on the others
        few = torch.tensor([7, 2, 8])
        parts = (part[few] for part in (frame.loc, frame.noise, frame.spread))
        some = Frame(*parts, replace(frame.axes, group=frame.axes.group[few]), FLOOR)
        found = some.source(x[few], latent[few], epsilon[few])
        assert torch.equal(found, frame.source(x, latent, epsilon)[few])


def test_plain_torch_serves_derivatives_other_dtypes_and_strides(generator):
    frame = linear(generator, 11, 20, 3)
    x, epsilon, latent = (normal(generator, 11, n) for n in (20, 20, 3))
    expected = frame.source(x, latent, epsilon)
    assert frame.tables(x.float()) is None
    spaced = [torch.stack([t, t], -1)[..., 0] for t in (x, latent, epsilon)]
    torch.testing.assert_close(frame.source(*spaced), expected)
    x.requires_grad_()
    assert frame.tables(x) is None
    assert torch.autograd.gradcheck(lambda x: frame.source(x, latent, epsilon), x)


@pytest.mark.parametrize("t", [0.0, 0.3, 0.8, 1.0])
def test_the_view_is_what_drawn_pairs_show(t, generator):
    """A basis along one coordinate: all coordinates are on their own, and each is regressed by itself."""
    draws, axis = 400_000, torch.tensor([1.0, 0.0, 0.0]).double()
    frame = linear(generator, 1, 3, 1, axis.view(1, 3, 1).expand(3, 3, 1))
    h1, noise, e0, e1 = (normal(generator, draws, n) for n in (1, 1, 3, 3))
    spread, root = frame.spread[0], frame.noise[0].sqrt()
    h0 = (1 - 1 / spread) * h1 + ((2 - 1 / spread) / spread).sqrt() * noise
    datum = (1 - FLOOR / frame.noise[0]).clamp(LEAST_VARIANCE, 1).sqrt()
    x0, x1 = (
        frame.loc + root * (spread.sqrt() * h * axis + (1 - axis) * e)
        for h, e in ((h0, e0), (h1, datum * e1))
    )
    x_t, u = t * x1 + (1 - t) * x0, x1 - x0
    slope = ((x_t - x_t.mean(0)) * (u - u.mean(0))).mean(0) / x_t.var(0)
    rest = u - u.mean(0) - slope * (x_t - x_t.mean(0))
    standard, velocity, scale = view(frame, frame.loc + 1.5, torch.tensor([t]).double())
    torch.testing.assert_close(standard[0], 1.5 / x_t.std(0), rtol=0.01, atol=0)
    torch.testing.assert_close(velocity[0], 1.5 * slope, rtol=0.02, atol=0.02)
    torch.testing.assert_close(scale[0], rest.std(0), rtol=0.01, atol=1e-6)
