"""C²OT: a transport cost that sees the condition (arXiv 2503.10636)."""

from __future__ import annotations

import torch
from torch import Tensor

from flowprior.couplings.cost import squared_distances


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
