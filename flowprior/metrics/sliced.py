"""Sliced W2² by POT: E_θ W2²(θ·X, θ·Y), θ uniform on the unit sphere (Bonneel et al. 2015).

In D dimensions it is 1/D of W2² where the clouds differ by a shift alone.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.metrics.base import Metric, MetricInfo, TwoSampleMetric, as_clouds
from flowprior.metrics.setup import Drawn, Setup
from flowprior.metrics.wasserstein import per_condition
from flowprior.registry import check_count

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

    check_count("sliced wasserstein2", "directions", directions)
    clouds = [cloud.numpy() for cloud in as_clouds("sliced wasserstein2", x, y)]
    distance: Any = ot.sliced_wasserstein_distance(*clouds, n_projections=directions, p=2, seed=seed)
    return float(distance) ** 2


def sliced_wasserstein2_per_condition(
    x: Tensor, cond: Conditions | None, y: Tensor, cond_y: Conditions | None, *, directions: int = DIRECTIONS
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
    return per_condition(partial(sliced_wasserstein2_squared, directions=directions), x, cond, y, cond_y)


@Metric.register("sliced-w2")
class Sliced(TwoSampleMetric):
    """Sliced squared 2-Wasserstein distance of all samples, averaged over labels, or pooled.

    Args:
        directions: random projections, the same for every label and seed.
    """

    needs_classifier = False
    names = ("sliced_w2_squared",)

    def __init__(self, directions: int = DIRECTIONS) -> None:
        check_count("metric 'sliced-w2'", "directions", directions)
        self.directions = directions

    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        what = f"sliced squared 2-Wasserstein distance over {self.directions} directions, {setup.scope}"
        reference = setup.reference.describe(len(setup.real.x))
        return {"sliced_w2_squared": MetricInfo(what, setup.samples, reference, "lower")}

    def compare(self, real: Drawn, generated: Drawn, seed: int = 0) -> dict[str, float]:
        distances = sliced_wasserstein2_per_condition(
            generated.x, generated.cond, real.x, real.cond, directions=self.directions
        )
        return {"sliced_w2_squared": sum(distances.values()) / len(distances)}
