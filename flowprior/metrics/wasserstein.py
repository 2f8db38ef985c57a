"""Exact squared 2-Wasserstein distance between two clouds of points, pooled or per condition.

W2²(X, Y) = min over plans P of Σ_ij P_ij ‖x_i − y_j‖², with uniform weights on both clouds. It is
exact for the clouds, in float64; as an estimate of the distance between their laws it is biased
upwards, the more the fewer the points and the higher the dimension, so compare equal counts only.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowprior.errors import CouplingError, InputError

if TYPE_CHECKING:
    import numpy as np


def wasserstein2_squared(x: Tensor, y: Tensor, *, max_iterations: int = 10_000_000) -> float:
    """W2² of the clouds x ``[N, *event]`` and y ``[M, *event]``, in squared units of x.

    POT's network simplex; scipy's assignment takes up to 40 times longer on clouds that lie apart.

    Args:
        x: one cloud.
        y: the other, of the same event shape.
        max_iterations: limit of POT's network simplex.

    Raises:
        InputError: empty clouds, other event shapes, or non-finite values.
        CouplingError: POT's solver did not converge.
    """
    _check(x, y)
    cost = _squared_distances(x, y)
    return _transport(cost, max_iterations)


def wasserstein2_per_condition(
    x: Tensor, cond: Tensor | None, y: Tensor, cond_y: Tensor | None, max_per_condition: int = 500
) -> dict[int, float]:
    """W2² of each label's points, or of everything pooled under the key ``-1``.

    Pooled where there is no condition, or an embedding for every row.

    Args:
        x: generated samples ``[N, *event]``.
        cond: their labels ``[N]``, embeddings ``[N, E]`` or None.
        y: real samples ``[M, *event]``.
        cond_y: their condition, of the same kind.
        max_per_condition: at most this many points of each cloud, the first ones, are compared.

    Returns:
        label -> W2², for every label of ``cond``.

    Raises:
        InputError: a label of ``cond`` that ``cond_y`` does not have, or clouds that do not fit.
        CouplingError: a transport plan that did not converge.
    """
    if cond is None or cond_y is None or cond.is_floating_point():
        return {-1: wasserstein2_squared(x[:max_per_condition], y[:max_per_condition])}
    distances: dict[int, float] = {}
    for label in cond.unique().tolist():
        ours, theirs = x[cond == label], y[cond_y == label]
        if len(theirs) == 0:
            raise InputError(
                f"wasserstein2_per_condition: label {label} was generated but is not in the reference"
            )
        distances[label] = wasserstein2_squared(ours[:max_per_condition], theirs[:max_per_condition])
    return distances


def _check(x: Tensor, y: Tensor) -> None:
    if len(x) == 0 or len(y) == 0 or x.shape[1:] != y.shape[1:]:
        raise InputError(
            f"wasserstein2: expected two non-empty clouds of one event shape, got {list(x.shape)} "
            f"and {list(y.shape)}"
        )
    for name, cloud in (("first", x), ("second", y)):
        if not torch.isfinite(cloud).all():
            raise InputError(f"wasserstein2: expected finite points, got NaN or infinity in the {name} cloud")


def _squared_distances(x: Tensor, y: Tensor) -> np.ndarray:
    from scipy.spatial.distance import cdist

    return cdist(x.double().cpu().flatten(1).numpy(), y.double().cpu().flatten(1).numpy(), "sqeuclidean")


def _transport(cost: np.ndarray, max_iterations: int) -> float:
    import ot

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what POT would warn of is raised below
        value, log = ot.emd2([], [], cost, numItermax=max_iterations, log=True)
    if log["warning"] is not None:
        raise CouplingError(f"wasserstein2: POT did not converge: {log['warning']}; raise max_iterations")
    return float(value)
