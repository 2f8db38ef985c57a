"""Optimal transport: exact and sliced squared 2-Wasserstein distances, and what training pairs cost.

W2²(X, Y) = min over plans P of Σ_ij P_ij ‖x_i − y_j‖², with uniform weights on both clouds, pooled or per
condition. As an estimate for their distributions it is biased upwards, the more the fewer the points: compare
equal counts only.

SW2² = E_θ W2²(θ·X, θ·Y), θ uniform on the unit sphere (Bonneel et al. 2015). In D dimensions it is 1/D of W2²
where the clouds differ by a shift alone.
"""

from __future__ import annotations

import warnings
from contextlib import suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.conditions.rows import moved
from flowprior.couplings import transport_cost
from flowprior.data.splits import draw_indices
from flowprior.errors import CouplingError, NotFittedError
from flowprior.metrics.base import Metric, MetricInfo, TwoSampleMetric, as_clouds, per_condition
from flowprior.metrics.setup import POOLED, Drawn, Setup
from flowprior.registry.options import check_counts

PER_CONDITION = 500
"""The largest number of points of each label that exact W2² compares; :data:`POOLED` of pooled conditions."""
DIRECTIONS = 200
"""The number of random projections."""
MOST_ITERATIONS = 10_000_000
"""The largest number of iterations of POT's network simplex."""
TRAINING_BATCH = 256
"""The size of the training batches that pairs are drawn for: minibatch couplings depend on it."""


def wasserstein2_squared(x: Tensor, y: Tensor) -> float:
    """Return W2² of the clouds x ``[N, *event]`` and y ``[M, *event]``, in squared units of x.

    POT's network simplex; scipy's assignment takes up to 40 times longer on clouds that lie apart.

    Args:
        x: one cloud.
        y: the other, of the same event shape.

    Raises:
        InputError: empty clouds, other event shapes, or non-finite values.
        CouplingError: POT's solver did not converge.
    """
    import ot
    from scipy.spatial.distance import cdist

    ours, theirs = as_clouds("wasserstein2", x, y)
    cost = cdist(ours.numpy(), theirs.numpy(), "sqeuclidean")
    with warnings.catch_warnings(action="ignore"):  # what POT would warn of is raised below
        value, log = ot.emd2([], [], cost, numItermax=MOST_ITERATIONS, log=True)
    if log["warning"] is not None:
        raise CouplingError(f"wasserstein2: POT did not converge: {log['warning']}; compare fewer points")
    return float(value)


def wasserstein2_per_condition(
    x: Tensor,
    cond: Conditions | None,
    y: Tensor,
    cond_y: Conditions | None,
    max_per_condition: int = PER_CONDITION,
) -> dict[int, float]:
    """Return W2² of each label's points, or of everything pooled under the key ``-1``.

    Pooled where there is no condition, an embedding for every row, or a condition of several parts.

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
    few = slice(0, max_per_condition)
    return per_condition(lambda a, b: wasserstein2_squared(a[few], b[few]), x, cond, y, cond_y)


def sliced_wasserstein2_squared(
    x: Tensor, y: Tensor, *, directions: int = DIRECTIONS, seed: int = 0
) -> float:
    """Return SW2² of the clouds x ``[N, *event]`` and y ``[M, *event]``, in squared units of x.

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

    check_counts("sliced wasserstein2", directions=directions)
    clouds = [cloud.numpy() for cloud in as_clouds("sliced wasserstein2", x, y)]
    distance: Any = ot.sliced_wasserstein_distance(*clouds, n_projections=directions, p=2, seed=seed)
    return float(distance) ** 2


def sliced_wasserstein2_per_condition(
    x: Tensor, cond: Conditions | None, y: Tensor, cond_y: Conditions | None, *, directions: int = DIRECTIONS
) -> dict[int, float]:
    """Return SW2² of each label's points, or of everything pooled under the key ``-1``.

    Args:
        x: generated samples ``[N, *event]``.
        cond: their labels ``[N]``, embeddings ``[N, E]`` or None; pooled unless they are labels.
        y: real samples ``[M, *event]``.
        cond_y: their condition, of the same kind.
        directions: random projections, the same for every label.

    Raises:
        InputError: a label of ``cond`` that ``cond_y`` does not have, or clouds that do not fit.
    """
    return per_condition(partial(sliced_wasserstein2_squared, directions=directions), x, cond, y, cond_y)


@Metric.register("w2")
class Wasserstein(TwoSampleMetric):
    """Exact squared 2-Wasserstein distance, averaged over labels, or pooled."""

    names = ("w2_squared",)

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
    """Sliced squared 2-Wasserstein distance of all samples, averaged over labels, or pooled."""

    names = ("sliced_w2_squared",)

    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        what = f"sliced squared 2-Wasserstein distance over {DIRECTIONS} directions, {setup.scope}"
        reference = setup.reference.describe(len(setup.real.x))
        return {"sliced_w2_squared": MetricInfo(what, setup.samples, reference, "lower")}

    def compare(self, real: Drawn, generated: Drawn, seed: int = 0) -> dict[str, float]:
        distances = sliced_wasserstein2_per_condition(generated.x, generated.cond, real.x, real.cond)
        return {"sliced_w2_squared": sum(distances.values()) / len(distances)}


def transport_costs(setup: Setup) -> dict[str, tuple[float, MetricInfo]]:
    """Return the mean cost of training pairs, drawn as training draws them, with what it is.

    Returns:
        ``transport_cost`` of the coupling's pairs, if it can make them, and ``transport_cost_unpaired`` with
        source samples of the prior under each data sample's condition.
    """
    flow, device, generator = setup.flow, setup.device, setup.generator()
    count, size = min(setup.samples, len(setup.data)), setup.flow.coupling.draw_size(TRAINING_BATCH)

    def inside(x1: Tensor, cond: Conditions | None) -> tuple[Tensor, Conditions | None]:
        return flow.encode(x1.to(device)), flow.encode_condition(moved(cond, device))

    if not flow.coupling.is_fitted:  # of a loaded flow, where it has to know all data
        batches = [inside(x1, cond) for x1, cond in setup.data.batches()]
        with suppress(NotFittedError):  # what its pairs are made of is not saved
            flow.coupling.fit(flow.prior, batches, generator=setup.generator())
    coupled = unpaired = 0.0
    makes_pairs = flow.coupling.is_fitted and not flow.coupling.takes_sources
    for part in draw_indices(setup.data, count, torch.Generator().manual_seed(setup.seed)).split(size):
        x1, cond = inside(*setup.data.batch(part))
        x0 = flow.prior.sample(cond, len(x1), generator=generator)
        unpaired += transport_cost(x0, x1).item() * len(part)
        if makes_pairs:
            pairs = flow.coupling.pairs(flow.prior, x1, cond, generator=generator)
            coupled += transport_cost(*pairs).item() * len(part)
    what = f"E‖x1 − x0‖² of training pairs, {size} drawn at once"
    of_coupling = MetricInfo(f"{what} by the coupling", count)
    found = {"transport_cost": (coupled / count, of_coupling)} if makes_pairs else {}
    of_prior = MetricInfo(f"{what} from the prior, each by itself", count)
    return {**found, "transport_cost_unpaired": (unpaired / count, of_prior)}
