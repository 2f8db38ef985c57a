"""Arguments of the operators on subspace priors, for one case, and what they give by plain torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flowprior.couplings.pair_law import LEAST_VARIANCE, PairLaw
from flowprior.ops.subspace import transposed_bases
from flowprior.paths.base import PathTime
from flowprior.priors.frame import Axes, Frame

if TYPE_CHECKING:
    from tests.native.parity import Case


def subspace(case: Case) -> tuple[Tensor, ...]:
    """loc, noise, spread, transposed bases and conditions; bases orthonormal where columns are enough."""
    rank = max(1, min(case.components, case.dim))
    basis = torch.linalg.qr(case.numbers(case.conditions, case.dim, rank, key=70).double())[0]
    noise = (0.3 + case.numbers(case.rows, case.dim, key=71).double().abs()).to(case.dtype)
    spread = (1.5 + case.numbers(case.rows, rank, key=72).double().square() * 9).to(case.dtype)
    loc = case.placed(case.numbers(case.rows, case.dim, key=73))
    return loc, case.placed(noise), case.placed(spread), transposed_bases(basis.to(case.dtype)), case.cond()


def source_arguments(case: Case) -> tuple[Any, ...]:
    """Those of subspace_source: x1, latent, epsilon, and the tables."""
    tables = subspace(case)
    x1, epsilon = (case.placed(case.numbers(case.rows, case.dim, key=key)) for key in (74, 75))
    return x1, case.placed(case.numbers(case.rows, tables[2].shape[1], key=76)), epsilon, *tables


def view_arguments(case: Case) -> tuple[Any, ...]:
    """Those of subspace_view, on the straight path."""
    loc, noise, spread, basis, cond = subspace(case)
    x = case.placed(case.numbers(case.rows, case.dim, key=77))
    t = case.numbers(case.rows, key=78).sigmoid()
    times = torch.stack([t, 1 - t, torch.ones_like(t), -torch.ones_like(t)], 1)
    lengths = basis[..., : case.dim].square().sum(1)
    return x, times, loc, noise, spread, 1 - 1 / spread, basis, lengths, cond, 0.25, LEAST_VARIANCE


def frame(
    loc: Tensor, noise: Tensor, spread: Tensor, basis: Tensor, cond: Tensor, floor: float = 0.0
) -> Frame:
    """The linear part of each row, which no native operator serves."""
    bases = basis[..., : loc.shape[1]].mT
    return Frame(loc, noise, spread, Axes(bases, cond, lambda: bases.square().sum(2)), floor)


def source_of(x1: Tensor | None, latent: Tensor, epsilon: Tensor, *tables: Tensor) -> Tensor:
    """What subspace_source gives."""
    linear = frame(*tables)
    return linear.place(latent, epsilon) if x1 is None else linear.source(x1, latent, epsilon)


def view_of(
    x: Tensor,
    times: Tensor,
    loc: Tensor,
    noise: Tensor,
    spread: Tensor,
    slope: Tensor,
    basis: Tensor,
    lengths: Tensor,
    cond: Tensor,
    floor: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """What subspace_view gives."""
    linear = frame(loc, noise, spread, basis, cond, floor)
    return PairLaw.of(linear, slope).standardised(x, PathTime(times[:, 0], *times.unbind(1)))
