"""Standardised point, linear velocity and the deviation it leaves, against moments of drawn pairs."""

from __future__ import annotations

import pytest
import torch

from flowprior.errors import DerivativeError, InputError
from flowprior.ops import SubspaceTables, subspace_view
from flowprior.ops.subspace_view import reference_subspace_view

from .subspaces import check_rows, normal, subspace

BOUND = {torch.float32: 3e-6, torch.float64: 1e-12}
FLOOR, LEAST = 0.2, 0.05


def straight(t):
    """α, σ, α', σ' of the straight path."""
    return torch.stack([t, 1 - t, torch.ones_like(t), -torch.ones_like(t)], 1)


def arguments(generator, rows=11, dim=20, rank=3, dtype=torch.float64):
    tables, lengths = subspace(generator, rows, dim, rank, dtype)
    t = torch.rand(rows, generator=generator, dtype=torch.float64).to(dtype)
    return normal(generator, rows, dim, dtype=dtype), straight(t), tables, 1 - 1 / tables.spread, lengths


@pytest.mark.parametrize("dtype", list(BOUND))
@pytest.mark.parametrize(("rows", "dim", "rank"), [(11, 20, 3), (40, 70, 8), (1, 1, 1), (0, 5, 2), (9, 4, 4)])
def test_it_is_the_formula(dtype, rows, dim, rank, generator):
    x, times, tables, slope, lengths = arguments(generator, rows, dim, rank, dtype)
    found = subspace_view(x, times, tables, slope, lengths, FLOOR, LEAST)
    wide = [tensor.double() for tensor in (x, times, *tables[:3], slope, tables.basis, lengths)]
    exact = reference_subspace_view(*wide, tables.cond, FLOOR, LEAST)
    for result, expected in zip(found, exact, strict=True):
        assert result.dtype == dtype
        torch.testing.assert_close(result.double(), expected, rtol=BOUND[dtype], atol=3 * BOUND[dtype])


@pytest.mark.parametrize("t", [0.0, 0.3, 0.8, 1.0])
def test_it_is_what_drawn_pairs_show(t, generator):
    """A basis along one coordinate: all coordinates are on their own, and each is regressed by itself."""
    draws, dim = 400_000, 3
    tables, _ = subspace(generator, 1, dim, 1)
    axis = torch.tensor([1.0, 0.0, 0.0]).double()
    basis = torch.nn.functional.pad(axis, (0, 13)).expand(3, 1, -1)
    lengths = axis.expand(3, -1)
    h1, noise, e0, e1 = (
        torch.randn(draws, n, dtype=torch.float64, generator=generator) for n in (1, 1, 3, 3)
    )
    spread, root = tables.spread[0], tables.noise[0].sqrt()
    h0 = (1 - 1 / spread) * h1 + ((2 - 1 / spread) / spread).sqrt() * noise
    datum = (1 - FLOOR / tables.noise[0]).clamp(LEAST, 1).sqrt()
    x0, x1 = (
        tables.loc + root * (spread.sqrt() * h * axis + (1 - axis) * e)
        for h, e in ((h0, e0), (h1, datum * e1))
    )
    x_t, u = t * x1 + (1 - t) * x0, x1 - x0
    slope = ((x_t - x_t.mean(0)) * (u - u.mean(0))).mean(0) / x_t.var(0)
    rest = u - u.mean(0) - slope * (x_t - x_t.mean(0))
    point, times = tables.loc + 1.5, straight(torch.tensor([t]).double())
    given = (times, tables._replace(basis=basis), 1 - 1 / tables.spread, lengths)
    standard, velocity, scale = subspace_view(point, *given, FLOOR, LEAST)
    torch.testing.assert_close(standard[0], 1.5 / x_t.std(0), rtol=0.01, atol=0)
    torch.testing.assert_close(velocity[0], 1.5 * slope, rtol=0.02, atol=0.02)
    torch.testing.assert_close(scale[0], rest.std(0), rtol=0.01, atol=1e-6)


def test_a_row_does_not_depend_on_the_others(generator):
    x, times, tables, slope, lengths = arguments(generator, 40, 70, 8, torch.float32)
    whole = subspace_view(x, times, tables, slope, lengths, FLOOR, LEAST)
    few = torch.tensor([31, 2, 7])
    some = SubspaceTables(*(t[few] for t in tables[:3]), tables.basis, tables.cond[few])
    found = subspace_view(x[few], times[few], some, slope[few], lengths, FLOOR, LEAST)
    for result, all_rows in zip(found, whole, strict=True):
        check_rows(result, all_rows, few)


def test_it_is_not_differentiable_and_says_so(generator):
    x, *rest = arguments(generator)
    velocity = subspace_view(x.requires_grad_(), *rest, FLOOR, LEAST)[1]
    with pytest.raises(DerivativeError, match=r"subspace_view: .* PairLaw\.velocity"):
        velocity.sum().backward()


def test_inputs_that_do_not_fit(generator):
    x, times, tables, slope, lengths = arguments(generator)
    for wrong in ((times[:, :3], slope, lengths), (times, slope[:2], lengths), (times, slope, lengths[:2])):
        with pytest.raises(InputError, match=r"subspace_view: expected times \[B, 4\], slope \[B, r\]"):
            subspace_view(x, wrong[0], tables, *wrong[1:], FLOOR, LEAST)
    with pytest.raises(InputError, match=r"subspace_view: expected rows, loc and noise \[B, D\]"):
        subspace_view(x[:, :5], times, tables, slope, lengths, FLOOR, LEAST)
    with pytest.raises(InputError, match="subspace_view: cond has label 9"):
        subspace_view(x, times, tables._replace(cond=tables.cond * 0 + 9), slope, lengths, FLOOR, LEAST)
    with pytest.raises(InputError, match="subspace_view: expected one floating-point dtype"):
        subspace_view(x, times.float(), tables, slope, lengths, FLOOR, LEAST)
