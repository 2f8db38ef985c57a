"""Squared 2-Wasserstein distance between two clouds of points, exact and sliced, pooled or per condition.

W2²(X, Y) = min over plans P of Σ_ij P_ij ‖x_i − y_j‖², with uniform weights on both clouds. It is
exact for the clouds, in float64; as an estimate of the distance between their laws it is biased
upwards, the more the fewer the points and the higher the dimension, so compare equal counts only.

Sliced W2² is the mean over random directions of the one-dimensional W2² of the projected clouds:
SW2²(X, Y) = E_θ W2²(θ·X, θ·Y), θ uniform on the unit sphere (Bonneel et al. 2015). In D dimensions it is 1/D
of W2² where the clouds differ by a shift alone. It costs a sort a direction, so it takes all samples.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from flowprior.errors import CouplingError, InputError, OptionError
from flowprior.metrics.base import Metric, MetricInfo, TwoSampleMetric
from flowprior.metrics.setup import POOLED, Drawn, Setup

PER_CONDITION = 500
"""Points of each label that exact W2² compares at most; :data:`POOLED` where all conditions are pooled."""
DIRECTIONS = 200
"""Random projections of the sliced distance."""


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
    import ot
    from scipy.spatial.distance import cdist

    ours, theirs = _as_clouds("wasserstein2", x, y)
    cost = cdist(ours, theirs, "sqeuclidean")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what POT would warn of is raised below
        value, log = ot.emd2([], [], cost, numItermax=max_iterations, log=True)
    if log["warning"] is not None:
        raise CouplingError(f"wasserstein2: POT did not converge: {log['warning']}; raise max_iterations")
    return float(value)


def wasserstein2_per_condition(
    x: Tensor, cond: Tensor | None, y: Tensor, cond_y: Tensor | None, max_per_condition: int = PER_CONDITION
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

    def distance(ours: Tensor, theirs: Tensor) -> float:
        return wasserstein2_squared(ours[:max_per_condition], theirs[:max_per_condition])

    return _per_condition(distance, x, cond, y, cond_y)


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

    clouds = _as_clouds("sliced wasserstein2", x, y)
    if directions < 1:
        raise OptionError(f"sliced wasserstein2: directions={directions} is not possible; choose 1 or more")
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
    return _per_condition(partial(sliced_wasserstein2_squared, directions=directions), x, cond, y, cond_y)


def _as_clouds(owner: str, x: Tensor, y: Tensor) -> tuple[Any, Any]:
    """Both clouds as float64 arrays ``[N, D]`` and ``[M, D]``.

    Raises:
        InputError: empty clouds, other event shapes, or non-finite values.
    """
    if len(x) == 0 or len(y) == 0 or x.shape[1:] != y.shape[1:]:
        raise InputError(
            f"{owner}: expected two non-empty clouds of one event shape, got {list(x.shape)} "
            f"and {list(y.shape)}"
        )
    for name, cloud in (("first", x), ("second", y)):
        if not torch.isfinite(cloud).all():
            raise InputError(f"{owner}: expected finite points, got NaN or infinity in the {name} cloud")
    ours, theirs = (cloud.detach().double().cpu().flatten(1).numpy() for cloud in (x, y))
    return ours, theirs


def _per_condition(
    distance: Callable[[Tensor, Tensor], float],
    x: Tensor,
    cond: Tensor | None,
    y: Tensor,
    cond_y: Tensor | None,
) -> dict[int, float]:
    """``distance`` of each label's points, or of everything pooled under the key ``-1``.

    Raises:
        InputError: a label of ``cond`` that ``cond_y`` does not have.
    """
    if cond is None or cond_y is None or cond.is_floating_point():
        return {-1: distance(x, y)}
    missing = sorted(set(cond.unique().tolist()) - set(cond_y.unique().tolist()))
    if missing:
        raise InputError(
            f"distance per condition: label {missing[0]} was generated but is not in the reference"
        )
    return {label: distance(x[cond == label], y[cond_y == label]) for label in cond.unique().tolist()}


@Metric.register("w2")
class Wasserstein(TwoSampleMetric):
    """Exact squared 2-Wasserstein distance, averaged over labels, or pooled."""

    quick = True
    needs_classifier = False

    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        points = PER_CONDITION if setup.is_labelled else POOLED
        description = f"exact squared 2-Wasserstein distance, {setup.scope}, of at most {points} points each"
        return {"w2_squared": MetricInfo(description, setup.samples, setup.reference.describe(), "lower")}

    def compare(self, real: Drawn, generated: Drawn, seed: int = 0) -> dict[str, float]:
        points = PER_CONDITION if generated.is_labelled else POOLED
        distances = wasserstein2_per_condition(generated.x, generated.cond, real.x, real.cond, points)
        return {"w2_squared": sum(distances.values()) / len(distances)}


@Metric.register("sliced-w2")
class Sliced(TwoSampleMetric):
    """Sliced squared 2-Wasserstein distance of all samples, averaged over labels, or pooled.

    Args:
        directions: random projections, the same for every label and seed.
    """

    needs_classifier = False

    def __init__(self, directions: int = DIRECTIONS) -> None:
        if directions < 1:
            raise OptionError(f"metric 'sliced-w2': directions={directions}; choose 1 or more")
        self.directions = directions

    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        description = (
            f"sliced squared 2-Wasserstein distance over {self.directions} directions, {setup.scope}"
        )
        reference = setup.reference.describe(len(setup.real.x))
        return {"sliced_w2_squared": MetricInfo(description, setup.samples, reference, "lower")}

    def compare(self, real: Drawn, generated: Drawn, seed: int = 0) -> dict[str, float]:
        distances = sliced_wasserstein2_per_condition(
            generated.x, generated.cond, real.x, real.cond, directions=self.directions
        )
        return {"sliced_w2_squared": sum(distances.values()) / len(distances)}
