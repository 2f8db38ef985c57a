"""Memorisation: are samples nearer to the training data than unseen real data are?

ratio = mean_s min_i ‖s − x_i‖ / mean_h min_i ‖h − x_i‖ over samples s, held-out h and training data x.
About 1 where samples are as far from the training data as unseen ones; near 0 where they are copies.
Above 1 they are further away than real data, which is poor quality and no proof of novelty.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from flowprior.errors import InputError


def nearest_distances(x: Tensor, batches: Iterable[Tensor]) -> Tensor:
    """Euclidean distance of each x ``[N, *event]`` to its nearest neighbour, float64 ``[N]``.

    Args:
        x: points.
        batches: the neighbours in batches ``[B, *event]``, streamed: each is looked at once.

    Raises:
        InputError: no neighbours, or of another shape than x.
    """
    rows = x.detach().double().cpu().flatten(1)
    shift = rows.mean(0)
    rows = rows - shift
    nearest = torch.full((len(rows),), torch.inf, dtype=torch.float64)
    for batch in batches:
        others = batch.detach().double().cpu().flatten(1)
        if others.shape[1] != rows.shape[1]:
            raise InputError(
                f"nearest_distances: expected neighbours like {list(x.shape[1:])}, "
                f"got {list(batch.shape[1:])}"
            )
        others = others - shift
        order = torch.addmm(others.square().sum(1), rows, others.T, alpha=-2)
        winners = others[order.argmin(1)]  # their distance is taken anew, so that a copy's is 0 exactly
        nearest = torch.minimum(nearest, (rows - winners).square().sum(1))
    if torch.isinf(nearest).any():
        raise InputError("nearest_distances: expected at least one neighbour, got none")
    return nearest.sqrt()


def memorisation_ratio(samples: Tensor, held_out: Tensor, training: Iterable[Tensor]) -> float:
    """Mean nearest distance of ``samples`` to the training data over that of ``held_out``.

    Args:
        samples: generated ``[N, *event]``.
        held_out: real data ``[M, *event]`` that were not trained on.
        training: batches ``[B, *event]``.

    Raises:
        InputError: shapes that do not fit, or held-out data that are all in the training data.
    """
    distances = nearest_distances(torch.cat([samples, held_out]), training)
    theirs = distances[len(samples) :].mean().item()
    if not theirs > 0:
        raise InputError(
            "memorisation_ratio: the held-out data lie in the training data; pass data that were not "
            "trained on"
        )
    return distances[: len(samples)].mean().item() / theirs
