"""Squared Euclidean costs between data and source samples, in float64: of pairs, and between all of them.

With the condition's own distance added they are the cost of C²OT (arXiv 2503.10636).
"""

from __future__ import annotations

import torch
from torch import Tensor

from flowprior.errors import CouplingError


def transport_cost(x0: Tensor, x1: Tensor) -> Tensor:
    """Mean of ‖x1 − x0‖² over the coupled pairs, a float64 scalar.

    It falls trivially with the prior's scale: never a measure of quality alone.

    Raises:
        CouplingError: shapes differ.
    """
    if x0.shape != x1.shape:
        raise CouplingError(
            f"transport_cost: expected equal shapes, got {list(x0.shape)} and {list(x1.shape)}"
        )
    return (x1.double() - x0.double()).flatten(1).square().sum(1).mean()


def squared_distances(x1: Tensor, x0: Tensor) -> Tensor:
    """‖x1_i − x0_j‖² for rows ``[B, *event]`` and ``[M, *event]``: float64 ``[B, M]``.

    One matrix product over rows centred at the mean of x1, which keeps cancellation away from the
    digits that matter. Computed where the rows are, on the CPU where their device has no float64.

    Raises:
        CouplingError: NaN or infinity in the rows, or values too large to square.
    """
    a, b = _centred(x1, x0)
    norms = a.square().sum(1)[:, None] + b.square().sum(1)
    return _finite(torch.addmm(norms, a, b.T, alpha=-2.0).clamp_min_(0.0))


def inner_costs(x1: Tensor, x0: Tensor) -> Tensor:
    """−⟨x1_i − m, x0_j − m⟩ with m the mean of x1, float64 ``[B, M]``.

    Half of :func:`squared_distances` up to one number a row and one a column, to which an assignment is
    blind; about a third cheaper.

    Raises:
        CouplingError: as :func:`squared_distances`.
    """
    a, b = _centred(x1, x0)
    return _finite((a @ b.T).neg_())


def mean_squared_distance(x1: Tensor, x0: Tensor) -> float:
    """The mean of :func:`squared_distances` over all pairs, without their matrix.

    Raises:
        CouplingError: as :func:`squared_distances`.
    """
    a, b = _centred(x1, x0)  # a has mean 0, so that products of the two average to 0
    return float(_finite(a.square().sum(1).mean() + b.square().sum(1).mean()))


def weighted_cost(cost: Tensor, cond: Tensor, kept_share: float) -> Tensor:
    """C_ij + w d(c_i, c_j), ``[B, B]``, with w chosen by :func:`condition_weight`.

    Args:
        cost: C_ij = ‖x1_i − x0_j‖², ``[B, B]``, x0_j drawn under c_j.
        cond: labels ``[B]`` or embeddings ``[B, E]``.
        kept_share: share of the pairs of different rows that may still be paired.
    """
    distance = condition_distance(cond).to(cost)
    return cost + condition_weight(cost, distance, kept_share) * distance


def condition_distance(cond: Tensor) -> Tensor:
    """d(c_i, c_j), float64 ``[B, B]``: squared Euclidean for embeddings, 0 or 1 for labels."""
    if cond.is_floating_point():
        return squared_distances(cond, cond).fill_diagonal_(0.0)
    return (cond[:, None] != cond[None, :]).double()


def condition_weight(cost: Tensor, distance: Tensor, kept_share: float) -> float:
    """The weight w ≥ 0 that leaves ``kept_share`` of the off-diagonal pairs as candidates.

    Datum i may leave its own x0_i for x0_j only where C_ij + w d_ij < C_ii, that is where
    w < (C_ii − C_ij) / d_ij. So the share of candidates is that of the thresholds above w, and w is
    their (1 − kept_share) quantile: no search. Pairs of equal conditions (d = 0) ignore w; where they alone
    exceed the share, w is the least that leaves nothing but them.
    """
    off = ~torch.eye(len(cost), dtype=torch.bool, device=cost.device)
    gain = (cost.diagonal()[:, None] - cost)[off]
    apart = distance[off]
    bound = apart > 0
    wanted = int(kept_share * len(gain)) - int((gain[~bound] > 0).sum())
    thresholds = gain[bound] / apart[bound]
    rank = len(thresholds) - max(wanted, 0)
    if rank < 1:
        return 0.0
    return max(float(thresholds.kthvalue(rank).values), 0.0)


def _centred(x1: Tensor, x0: Tensor) -> tuple[Tensor, Tensor]:
    if x1.device.type == "mps":
        x1, x0 = x1.cpu(), x0.cpu()
    a = x1.detach().flatten(1).to(torch.float64, copy=True)
    b = x0.detach().flatten(1).to(torch.float64, copy=True)
    centre = a.mean(0)
    return a.sub_(centre), b.sub_(centre)


def _finite(cost: Tensor) -> Tensor:
    if not torch.isfinite(cost.sum()):
        raise CouplingError(
            "ot: the cost between source samples and data is not finite; look for NaN or infinity in x1 and "
            "in what the prior samples"
        )
    return cost
