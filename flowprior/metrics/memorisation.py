"""Memorisation: are samples nearer to the training data than unseen real data are?

ratio = mean_s min_i ‖s − x_i‖ / mean_h min_i ‖h − x_i‖ over samples s, held-out h and training data x:
1 where samples are as far as unseen data, 0 for copies; above 1 is poor quality and no proof of novelty.
A few copies among many samples hardly move a mean, so the same ratio of 5 % quantiles and of medians stands
beside it.

Blurred samples lie near to everything, whether it was trained on or not, and those ratios take them for
copies. So a second question is asked: of all training and held-out data, how often is a sample's nearest one
held out? A flow that keeps nothing of single examples finds them by chance, as often as their share in the
two; one that copies never does. This is in the manner of Meehan, Chaudhuri & Dasgupta (2020,
arXiv 2004.05675), whose test compares distances where this counts.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from flowprior.errors import InputError
from flowprior.metrics.base import Metric, MetricInfo, SampleMetric
from flowprior.metrics.reference import Reference
from flowprior.metrics.setup import Drawn, Setup


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
            shapes = f"expected neighbours like {list(x.shape[1:])}, got {list(batch.shape[1:])}"
            raise InputError(f"nearest_distances: {shapes}")
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
        problem = "the held-out data lie in the training data; pass data that were not trained on"
        raise InputError(f"memorisation_ratio: {problem}")
    return distances[: len(samples)].mean().item() / theirs


def reference_distances(reference: Reference, training: Reference, count: int) -> Tensor:
    """Distances of ``count`` real data to their nearest training data, from the cache if they are there."""

    def compute() -> dict[str, Tensor]:
        neighbours = (x for x, _ in training.data.batches())
        return {"distances": nearest_distances(reference.subset(count)[0], neighbours)}

    key = {"count": min(count, len(reference)), "training": training.digest if reference.cache else ""}
    return reference.kept("distances", compute, **key)["distances"]


def copied_share(to_training: Tensor, to_held_out: Tensor, training: int, held_out: int) -> float:
    """Share of samples that are copies, if all others are as near to held-out data as to training data.

    1 − s (N + M)/M, where s is the share of samples whose nearest is held out: 0 where that is chance, 1
    where it never happens. Below 0 samples find held-out data more often than by chance, as they may where
    few are looked at, or where the two splits differ in kind. Ties count half.

    Args:
        to_training: distance of each sample to its nearest training example ``[n]``.
        to_held_out: the same to its nearest held-out example ``[n]``.
        training: N, training examples.
        held_out: M, held-out examples.
    """
    sign = (to_training - to_held_out).sign()
    nearer = 0.5 + 0.5 * float(sign.double().mean())
    return 1 - nearer * (training + held_out) / held_out


COPIES = "copies"
QUANTILES = {"nearest-q05": 0.05, "nearest-q50": 0.5}


@Metric.register("memorisation")
class Memorisation(SampleMetric):
    """Distance of samples to their nearest training example over that of held-out real data; 1 is as new."""

    needs_classifier = False
    real_data = "none"  # a training example's is 0

    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        if not setup.has_test:
            return {}
        kinds = {"memorisation": "mean"} | {name: f"{q:.0%} quantile of the" for name, q in QUANTILES.items()}
        what = f"distance to the nearest of {setup.training.describe()} over that of held-out data"
        what += "; 1 is as far as unseen data, 0 a copy"
        against = setup.samples, setup.reference.describe(setup.samples)
        columns = {name: MetricInfo(f"{kind} {what}", *against) for name, kind in kinds.items()}
        of_all = f"{setup.training.describe()} and {setup.reference.describe()}"
        copies = "1 - how often the nearest of both splits is held out, over how often by chance; 1 is copies"
        return columns | {COPIES: MetricInfo(copies, setup.samples, of_all)}

    def lacks(self, setup: Setup) -> str:
        return "a test split"

    def values(self, setup: Setup, drawn: Drawn) -> dict[str, float]:
        held_out = reference_distances(setup.reference, setup.training, setup.samples)
        if not bool((held_out > 0).any()):
            return {}  # the test split lies in the training split
        nearest = nearest_distances(drawn.x, (x for x, _ in setup.data.batches()))
        pairs = {"memorisation": (nearest.mean(), held_out.mean())}
        pairs |= {name: (nearest.quantile(q), held_out.quantile(q)) for name, q in QUANTILES.items()}
        values = {name: (ours / theirs).item() for name, (ours, theirs) in pairs.items() if theirs > 0}
        unseen = nearest_distances(drawn.x, (x for x, _ in setup.reference.data.batches()))
        sizes = len(setup.data), len(setup.reference)
        return values | {COPIES: copied_share(nearest, unseen, *sizes)}
