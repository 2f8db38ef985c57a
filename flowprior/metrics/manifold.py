"""Improved precision and recall (Kynkäänniemi et al. 2019, arXiv 1904.06991, eq. 1-2), in float64.

The manifold of a set is the union of the balls around its points that reach to their k-th nearest neighbour
in the set; precision and recall are the shares of generated points on the real manifold, and conversely.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import Tensor

from flowprior.errors import OptionError
from flowprior.metrics.base import FeatureMetric, Metric, as_clouds
from flowprior.metrics.setup import Drawn, Setup

NEIGHBOURS = 3
"""The neighbour that a point's ball reaches to by default, as in the paper."""


class PrecisionRecall(NamedTuple):
    """The two shares, in [0, 1]."""

    precision: float
    recall: float


def precision_recall(real: Tensor, generated: Tensor, *, neighbours: int = NEIGHBOURS) -> PrecisionRecall:
    """Return precision and recall of ``generated`` ``[M, F]`` against ``real`` ``[N, F]``.

    Args:
        real: features of real data.
        generated: features of samples. The paper compares equal numbers of both; recall falls with fewer.
        neighbours: k, the neighbour that a point's ball reaches to.

    Raises:
        InputError: matrices that do not fit, or not finite.
        OptionError: fewer than ``neighbours + 1`` rows.
    """
    real, generated = as_clouds("precision_recall", real, generated)
    if neighbours < 1 or min(len(real), len(generated)) <= neighbours:
        raise OptionError(
            f"precision_recall: neighbours={neighbours} is not possible with {len(real)} and "
            f"{len(generated)} rows; choose from 1 to one less than the rows"
        )
    shift = real.mean(0)
    ours, theirs = (real - shift).numpy(), (generated - shift).numpy()
    return PrecisionRecall(
        precision=_share_inside(theirs, ours, neighbours), recall=_share_inside(ours, theirs, neighbours)
    )


def _share_inside(points: np.ndarray, centres: np.ndarray, neighbours: int) -> float:
    """Return the share of ``points`` in the balls of ``centres``, which reach to their k-th neighbours."""
    from sklearn.metrics import pairwise_distances_chunked
    from sklearn.neighbors import NearestNeighbors

    near = NearestNeighbors(n_neighbors=neighbours, algorithm="brute").fit(centres)
    radii = near.kneighbors()[0][:, -1]
    inside = pairwise_distances_chunked(
        points, centres, reduce_func=lambda part, start: (part <= radii).any(1)
    )
    return float(np.concatenate(list(inside)).mean())


@Metric.register("precision-recall")
class Manifold(FeatureMetric):
    """Share of samples on the real manifold and of real data on the samples', for each set of features."""

    names = ("precision", "recall")
    better = "higher"

    def describe(self, setup: Setup, name: str) -> tuple[str, str]:
        return f"{name} by {NEIGHBOURS} nearest neighbours", setup.reference.describe(setup.samples)

    def compare(self, real: Drawn, generated: Drawn, seed: int = 0) -> dict[str, float]:
        return precision_recall(real.x, generated.x)._asdict()
