"""Sliced W2²: the mean over random directions of the one-dimensional W2² of the projected clouds, by POT.

SW2²(X, Y) = E_θ W2²(θ·X, θ·Y), θ uniform on the unit sphere (Bonneel et al. 2015). In D dimensions it is
1/D of W2² where the clouds differ by a shift alone. It costs a sort a direction, so it takes all samples.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flowprior.errors import InputError, OptionError

DIRECTIONS = 200


def sliced_wasserstein2_squared(
    x: Tensor, y: Tensor, *, directions: int = DIRECTIONS, seed: int = 0
) -> float:
    """SW2² of the clouds x ``[N, *event]`` and y ``[M, *event]``, in squared units of x.

    Args:
        x: one cloud.
        y: the other, of the same event shape; the counts may differ.
        directions: random projections; the same ``seed`` draws the same ones.
        seed: of the projections.

    Raises:
        InputError: empty clouds, other event shapes, or non-finite values.
        OptionError: no direction.
    """
    import ot

    if len(x) == 0 or len(y) == 0 or x.shape[1:] != y.shape[1:]:
        raise InputError(
            f"sliced wasserstein2: expected two non-empty clouds of one event shape, got {list(x.shape)} "
            f"and {list(y.shape)}"
        )
    if not (torch.isfinite(x).all() and torch.isfinite(y).all()):
        raise InputError("sliced wasserstein2: expected finite points, got NaN or infinity")
    if directions < 1:
        raise OptionError(f"sliced wasserstein2: directions={directions} is not possible; choose 1 or more")
    clouds = (cloud.detach().double().cpu().flatten(1).numpy() for cloud in (x, y))
    distance: Any = ot.sliced_wasserstein_distance(*clouds, n_projections=directions, p=2, seed=seed)
    return float(distance) ** 2


def sliced_wasserstein2_per_condition(
    x: Tensor, cond: Tensor | None, y: Tensor, cond_y: Tensor | None, *, directions: int = DIRECTIONS
) -> dict[int, float]:
    """SW2² of each label's points, or of everything pooled under the key ``-1``.

    Args:
        x: generated samples ``[N, *event]``.
        cond: their labels ``[N]``, embeddings ``[N, E]`` or None; pooled unless they are labels.
        y: real samples ``[M, *event]``.
        cond_y: their condition, of the same kind.
        directions: random projections, the same for every label.

    Raises:
        InputError: a label of ``cond`` that ``cond_y`` does not have, or clouds that do not fit.
    """
    if cond is None or cond_y is None or cond.is_floating_point():
        return {-1: sliced_wasserstein2_squared(x, y, directions=directions)}
    return {
        label: sliced_wasserstein2_squared(x[cond == label], y[cond_y == label], directions=directions)
        for label in cond.unique().tolist()
    }
