"""Noise of labels under a basis that they share: what each of them varies by outside of it.

With R_c the label's mean squared residual outside the basis, in each coordinate, R the pooled one, f the
variance floor, ψ the pooled noise, V_c and V the label's and the pooled variance and l the coordinate's
leverage, a label that keeps all latents of its basis has

    ψ_c = min(ψ (R_c + f)/(R + f), b_c),   b_c = f + V_c (1 − l + l (ψ − f)/V).

Then the variance outside, ψ_c (1 − l), is R_c + f as ψ's is R + f. Without the bound b_c a coordinate that
the basis holds almost whole (l near 1), where R is next to nothing, would get any noise; with it, there, the
pooled share of its variance at most. A label that keeps the leading latents only has the fixed point of

    ψ_c = min((R_c + f)/(1 − l_c), b_c),

with R_c and l_c outside of these and in their leverage, which follow from ψ_c in turn: the equations of
factor analysis within the shared subspace (Jöreskog 1967).

Labels of few examples are drawn to the pooled moments: R_c and V_c get ``PRIOR_ROWS`` examples' worth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from flowprior.data.stream import Batch, CheckedBatches
from flowprior.mixtures.lowrank import LEAST_NOISE
from flowprior.mixtures.moments import ConditionMoments
from flowprior.priors.row_sample import PIECE, first_rows, in_pieces
from flowprior.priors.subspace import Subspace

ROWS_OF_NOISE, ROWS_OF_ALL = 200, 65_536
"""Rows whose residuals outside the basis are looked at: of each label at least, and of all together."""
PRIOR_ROWS = 16.0
"""How many examples' worth of the pooled moments a label's noise is given."""
LEAST_RESIDUAL = 1e-12
Aim = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Of some labels ``[n]`` the noise before the bound ``[n, D]``, and the leverage ``[n, D]`` or ``[D]``."""


class OutsideResiduals:
    """Sums of squared residuals outside the basis, ``[C, D]``, and their ``count`` ``[C]``."""

    def __init__(self, conditions: int, dim: int) -> None:
        self.count = torch.zeros(conditions, dtype=torch.float64)
        self.total = torch.zeros(conditions, dim, dtype=torch.float64)

    def update(self, residuals: Tensor, labels: Tensor) -> None:
        """Add rows ``[B, D]`` with labels ``[B]``."""
        self.count += torch.bincount(labels, minlength=len(self.count))
        self.total.index_add_(0, labels, residuals.double().square_())


class Shrunk:
    """Mean squares of labels from sums ``[C, D]``, drawn to the ``pooled`` ones ``[D]`` of all rows."""

    def __init__(self, total: Tensor, count: Tensor) -> None:
        self.total, self.count = total, count
        self.pooled = total.sum(0) / count.sum()

    def of(self, c: Tensor) -> Tensor:
        """Those of the labels c ``[n]``, ``[n, D]``, with ``PRIOR_ROWS`` examples of the pooled ones."""
        return (self.total[c] + PRIOR_ROWS * self.pooled) / (self.count[c] + PRIOR_ROWS)[:, None]


def scaled(data: Iterable[Batch], loc: Tensor, scale: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows s_c (x − m_c) ``[n, D]`` with their labels, a few at a time; tables ``[C, D]``."""
    for x, cond in in_pieces(data):
        assert cond is not None
        c = cond.cpu()
        yield (x.detach().cpu() - loc[c]).mul_(scale[c]), c


def noise_outside(
    data: CheckedBatches, subspace: Subspace, moments: ConditionMoments, floor: float
) -> Tensor:
    """ψ_c ``[C, D]`` of labels that keep all latents of the basis, whose noise is the pooled one as yet."""
    basis, common = subspace.basis[0], subspace.common[0].double()

    def outside(white: Tensor, c: Tensor) -> Tensor:
        return white - (white @ basis) @ basis.mT

    residual = _residuals(data, subspace, outside)
    leverage = basis.double().square().sum(1)

    def aim(c: Tensor) -> tuple[Tensor, Tensor]:
        ratio = (residual.of(c) + floor) / (residual.pooled + floor).clamp_min(LEAST_RESIDUAL)
        return common * ratio, leverage

    return _bounded(aim, subspace, moments, floor)


def noise_beside(data: CheckedBatches, turned: Subspace, moments: ConditionMoments, floor: float) -> Tensor:
    """The next ψ_c ``[C, D]`` of the fixed point, of labels that keep the latents that ``turned`` has."""

    def outside(white: Tensor, c: Tensor) -> Tensor:
        frame = turned.frame(c, floor)
        return white - frame.out_of(frame.into(white))

    residual = _residuals(data, turned, outside)

    def aim(c: Tensor) -> tuple[Tensor, Tensor]:
        leverage = turned.frame(c, floor).leverage.double()
        return (residual.of(c) + floor) / (1 - leverage).clamp_min(LEAST_RESIDUAL), leverage

    return _bounded(aim, turned, moments, floor)


def _residuals(
    data: CheckedBatches, subspace: Subspace, outside: Callable[[Tensor, Tensor], Tensor]
) -> Shrunk:
    """R_c of every label, from its first rows; ``outside`` takes away what whitened rows have inside."""
    found = OutsideResiduals(*subspace.loc.shape)
    labels = len(found.count)
    few = first_rows(data, labels, max(ROWS_OF_NOISE, ROWS_OF_ALL // labels))
    for white, c in scaled(few, subspace.loc, subspace.noise.rsqrt()):
        found.update(outside(white, c).mul_(subspace.noise[c].sqrt()), c)
    return Shrunk(found.total, found.count)


def _bounded(aim: Aim, subspace: Subspace, moments: ConditionMoments, floor: float) -> Tensor:
    """ψ_c ``[C, D]`` of every label: what is aimed at, at most b_c."""
    variance = Shrunk(moments.scatter, moments.count)
    share = (subspace.common[0].double() - floor) / variance.pooled.clamp_min(LEAST_RESIDUAL)
    share = share.clamp(0, 1)
    noise = torch.empty_like(subspace.loc)
    for c in torch.arange(len(noise)).split(max(1, PIECE // noise.shape[1])):
        own, leverage = aim(c)
        bound = variance.of(c) * (1 - leverage + leverage * share)
        own = torch.minimum(bound, (own - floor).clamp_min(0))
        noise[c] = (torch.maximum(own, LEAST_NOISE * own.mean(1, keepdim=True)) + floor).to(noise)
    return noise
