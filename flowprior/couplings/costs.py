"""Costs of pairs: squared Euclidean distances in float64, and C²OT's, which add the conditions' distances.

Rows are centred first, which keeps cancellation away from the digits that matter, and are checked once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flowprior.errors import CouplingError


def transport_cost(x0: Tensor, x1: Tensor) -> Tensor:
    """Return the mean of ‖x1 − x0‖² over the coupled pairs, a float64 scalar.

    It falls trivially with the prior's scale: never a measure of quality alone.

    Raises:
        CouplingError: shapes differ.
    """
    if x0.shape != x1.shape:
        raise CouplingError(
            f"transport_cost: expected equal shapes, got {list(x0.shape)} and {list(x1.shape)}"
        )
    return (x1.double() - x0.double()).flatten(1).square().sum(1).mean()


def centred(x1: Tensor, x0: Tensor) -> tuple[Tensor, Tensor]:
    """Return x1 ``[B, *event]`` and x0 ``[M, *event]`` as float64 rows about the mean of x1.

    They stay on their device, or come to the CPU if their device has no float64.

    Raises:
        CouplingError: NaN or infinity in the rows, or values too large to square.
    """
    if x1.device.type == "mps":
        x1, x0 = x1.cpu(), x0.cpu()
    a, b = (x.detach().flatten(1).to(torch.float64, copy=True) for x in (x1, x0))
    centre = a.mean(0)
    a, b = a.sub_(centre), b.sub_(centre)
    if not torch.isfinite(torch.linalg.vector_norm(a) + torch.linalg.vector_norm(b)):
        raise CouplingError(
            "ot: the cost between source samples and data is not finite; look for NaN or infinity in x1 and "
            "in what the prior samples"
        )
    return a, b


def squared_distances(x1: Tensor, x0: Tensor) -> Tensor:
    """Return ‖x1_i − x0_j‖² for rows ``[B, *event]`` and ``[M, *event]``: float64 ``[B, M]``.

    Raises:
        CouplingError: as :func:`centred`.
    """
    return distances_between(*centred(x1, x0))


def distances_between(a: Tensor, b: Tensor) -> Tensor:
    """Return ‖a_i − b_j‖² ``[B, M]`` of :func:`centred` rows ``[B, D]`` and ``[M, D]``."""
    norms = a.square().sum(1)[:, None] + b.square().sum(1)
    return torch.addmm(norms, a, b.T, alpha=-2.0).clamp_min_(0.0)


def weighted_cost(cost: Tensor, cond: Tensor, kept_share: float) -> Tensor:
    """Return C_ij + w d(c_i, c_j), ``[B, B]``, with w chosen by :func:`condition_weight`.

    Args:
        cost: C_ij = ‖x1_i − x0_j‖², ``[B, B]``, x0_j drawn under c_j.
        cond: labels ``[B]`` or embeddings ``[B, E]``.
        kept_share: share of the pairs of different rows that may still be paired.
    """
    distance = condition_distance(cond).to(cost)
    return cost + condition_weight(cost, distance, kept_share) * distance


def condition_distance(cond: Tensor) -> Tensor:
    """Return d(c_i, c_j), float64 ``[B, B]``: squared Euclidean for embeddings, 0 or 1 for labels."""
    if cond.is_floating_point():
        return squared_distances(cond, cond).fill_diagonal_(0.0)
    return (cond[:, None] != cond[None, :]).double()


def condition_weight(cost: Tensor, distance: Tensor, kept_share: float) -> float:
    """Return the weight w ≥ 0 that leaves ``kept_share`` of the off-diagonal pairs as candidates.

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
