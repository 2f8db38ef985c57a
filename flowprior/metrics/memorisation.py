"""Memorisation: how much closer samples lie to the training data than unseen real data do.

ratio = mean_s min_i ‖s − x_i‖ / mean_h min_i ‖h − x_i‖ over samples s, held-out h and training data x:
1 where samples are as far as unseen data, 0 for copies; above 1 is poor quality and no proof of novelty.
A few copies among many samples hardly move a mean, so the same ratio of 5 % quantiles and of medians stands
beside it, and the share of samples that are near-duplicates: those within a third of the median nearest
distance of held-out data from a training example. Data sets hold near-duplicates themselves, and their
quantiles would excuse those of a flow, so the held-out data of the ratios are those that are none.

Blurred samples lie close to everything, whether it was trained on or not, and those ratios take them for
near-duplicates. So a second question is asked: of all training and held-out data, how often is a sample's
nearest one held out? A flow that keeps nothing of single examples finds them by chance, as often as their
share in the two; one that copies never does. This is in the manner of Meehan, Chaudhuri & Dasgupta (2020,
arXiv 2004.05675), whose test compares distances where this counts. It is chance only where the samples'
conditions favour neither split, so it is left out where they are embeddings of the held-out data themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from flowprior.errors import InputError
from flowprior.metrics.base import Metric, MetricInfo, SampleMetric
from flowprior.metrics.setup import Drawn, Reference, Setup
from flowprior.registry.options import check_counts

NEAR = 1 / 3
"""The share of the median nearest distance of held-out data within which a point is a near-duplicate."""


class Nearest(NamedTuple):
    """The distances of N points to their nearest neighbours, float64, and their places, ``[N]`` each."""

    distance: Tensor
    place: Tensor


def nearest(x: Tensor, batches: Iterable[Tensor]) -> Nearest:
    """Find the nearest neighbour of each x ``[N, *event]``, by Euclidean distance.

    Args:
        x: points.
        batches: the neighbours in batches ``[B, *event]``, streamed: each is looked at once.

    Raises:
        InputError: no neighbours, or of another shape than x.
    """
    rows = x.detach().double().cpu().flatten(1)
    shift, seen = rows.mean(0), 0
    rows = rows - shift
    least, place = torch.full((len(rows),), torch.inf, dtype=torch.float64), torch.zeros(len(rows)).long()
    for batch in batches:
        if batch.shape[1:] != x.shape[1:]:
            raise InputError(
                f"nearest: expected neighbours like {list(x.shape[1:])}, got {list(batch.shape[1:])}"
            )
        others = batch.detach().double().cpu().flatten(1) - shift
        winners = torch.addmm(others.square().sum(1), rows, others.T, alpha=-2).argmin(1)
        distance = (rows - others[winners]).square().sum(1)  # taken anew, so that a copy's is 0 exactly
        place = torch.where(distance < least, winners + seen, place)
        least, seen = torch.minimum(least, distance), seen + len(others)
    if not seen:
        raise InputError("nearest: expected at least one neighbour, got none")
    return Nearest(least.sqrt(), place)


def near_duplicates(distances: Tensor, held_out: Tensor) -> Tensor:
    """Return which points are near-duplicates of training data, by the share :data:`NEAR`, bool ``[N]``.

    Args:
        distances: of the points to their nearest training examples ``[N]``.
        held_out: the same of held-out data ``[M]``.
    """
    return distances <= NEAR * held_out.quantile(0.5)


def memorisation_ratio(samples: Tensor, held_out: Tensor, training: Iterable[Tensor]) -> float:
    """Return the mean nearest distance of ``samples`` to the training data over that of ``held_out``.

    Args:
        samples: generated ``[N, *event]``.
        held_out: real data ``[M, *event]`` that were not trained on; near-duplicates of training data are
            left out.
        training: batches ``[B, *event]``.

    Raises:
        InputError: shapes that do not fit, or held-out data that are all in the training data.
    """
    distances = nearest(torch.cat([samples, held_out]), training).distance
    theirs = distances[len(samples) :]
    distinct = theirs[~near_duplicates(theirs, theirs)]
    if not len(distinct):
        raise InputError(
            "memorisation_ratio: the held-out data lie in the training data; pass data that were not "
            "trained on"
        )
    return (distances[: len(samples)].mean() / distinct.mean()).item()


def pooled(x: Tensor, side: int | None) -> Tensor:
    """Return images ``[B, C, H, W]`` as ``[B, C, h, w]``, h and w ≤ ``side``: means of areas of larger ones.

    Events stay as they are if ``side`` is None.

    Raises:
        InputError: a side for events that are no images.
    """
    if side is None:
        return x
    if x.dim() != 4:
        raise InputError(
            f"metric 'memorisation': side={side} is for images [C, H, W], got events {list(x.shape[1:])}; "
            "leave side out"
        )
    height, width = x.shape[-2:]
    return nn.functional.adaptive_avg_pool2d(x, (min(height, side), min(width, side)))


def reference_distances(
    reference: Reference, training: Reference, count: int, side: int | None = None
) -> Tensor:
    """Return distances of ``count`` real data to their nearest training data, cached.

    ``side``: images are compared at so many pixels a side, see :func:`pooled`.
    """

    def compute() -> dict[str, Tensor]:
        neighbours = (pooled(x, side) for x, _ in training.data.batches())
        return {"distances": nearest(pooled(reference.subset(count)[0], side), neighbours).distance}

    key = {"count": min(count, len(reference)), "training": training.digest}
    return reference.kept("distances", compute, **key, **({} if side is None else {"side": side}))[
        "distances"
    ]


def copied_share(
    to_training: Nearest, to_held_out: Nearest, training: int, held_out: int
) -> tuple[float, float]:
    """Return the share of samples that are near-duplicates of training data, and its standard error.

    The others are taken to be as close to held-out data as to training data. The share is 1 − s/p, where s is
    that of samples whose nearest is held out and p = M/(N + M): 0 where that is
    chance, 1 where it never happens. Below 0 samples find held-out data more often than by chance, as they
    may where few are looked at, or where the two splits differ in kind. Ties count half. The standard error
    is that of which examples happen to be held out: with the share w_i of samples whose nearest is example i,
    ((1 − p)/p · (Σ_i w_i² − 1/(N + M)))^½. It is large where a few examples are the nearest of many samples.

    Args:
        to_training: nearest training example of each of n samples.
        to_held_out: nearest held-out example of each.
        training: N, training examples.
        held_out: M, held-out examples.
    """
    sign = (to_training.distance - to_held_out.distance).sign()
    by_chance = held_out / (training + held_out)
    share = 0.5 + 0.5 * float(sign.double().mean())
    of_both = torch.where(sign > 0, training + to_held_out.place, to_training.place)
    weight = of_both.bincount().double() / len(of_both)
    uneven = float(weight.square().sum()) - 1 / (training + held_out)
    error = math.sqrt(max((1 - by_chance) / by_chance * uneven, 0.0))
    return 1 - share / by_chance, error


def favours_no_split(setup: Setup) -> bool:
    """Return whether the conditions of the samples are as close to training as to held-out data.

    Labels are in both splits, in like proportions; embeddings of the held-out data are those of them alone.
    """
    return setup.balanced or setup.reference.data.condition.kind in ("none", "labels")


STATISTICS: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "memorisation": ("mean", torch.mean),
    "nearest-q05": ("5% quantile of the", partial(torch.quantile, q=0.05)),
    "nearest-q50": ("50% quantile of the", partial(torch.quantile, q=0.5)),
}
"""The name of each ratio of distances -> its description, and what is taken of the distances."""


@Metric.register("memorisation")
class Memorisation(SampleMetric):
    """Distance of samples to their nearest training example over that of held-out real data; 1 is as new.

    Args:
        side: images of more pixels a side are compared as the means of areas, so many a side. At 256 × 256
            pixels ``side=64`` takes a sixteenth of the time and of the memory. Default: as they are.

    Raises:
        OptionError: ``side`` below 1.
        InputError: a side for events that are no images.
    """

    names = ()
    real_data = "held-out"  # of near-duplicates alone: the ratios are to these data already

    def __init__(self, side: int | None = None) -> None:
        if side is not None:
            check_counts("metric 'memorisation'", side=side)
        self.side = side

    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        if not setup.has_test:
            return {}
        size = "" if self.side is None else f" (images at no more than {self.side} pixels a side)"
        what = (
            f"distance to the nearest of {setup.training.describe()} over that of held-out data that are no "
            f"near-duplicates; 1 is as far as unseen data, 0 a copy{size}"
        )
        against = setup.samples, setup.reference.describe(setup.samples)
        columns = {name: MetricInfo(f"{kind} {what}", *against) for name, (kind, _) in STATISTICS.items()}
        columns["near-duplicates"] = MetricInfo(f"share of near-duplicates of training data{size}", *against)
        if favours_no_split(setup):
            of_all = setup.samples, f"{setup.training.describe()} and {setup.reference.describe()}"
            columns["copies"] = MetricInfo(
                "1 - how often the nearest of both splits is held out, over how often by chance; "
                f"1 is copies{size}",
                *of_all,
            )
            columns["copies-error"] = MetricInfo("standard error of copies, if there are none", *of_all)
        return columns

    def lacks(self, setup: Setup) -> str:
        return "a test split"

    def values(self, setup: Setup, drawn: Drawn) -> dict[str, float]:
        held_out = reference_distances(setup.reference, setup.training, setup.samples, self.side)
        repeated = near_duplicates(held_out, held_out)
        if bool(repeated.all()):
            return {}  # the test split lies in the training split
        if drawn is setup.held_out:
            return {"near-duplicates": repeated.double().mean().item()}
        samples, splits = pooled(drawn.x, self.side), (setup.data, setup.reference.data)
        known, unseen = (
            nearest(samples, (pooled(x, self.side) for x, _ in data.batches())) for data in splits
        )
        ours, theirs = known.distance, held_out[~repeated]
        values = {name: (of(ours) / of(theirs)).item() for name, (_, of) in STATISTICS.items()}
        values["near-duplicates"] = near_duplicates(ours, held_out).double().mean().item()
        if favours_no_split(setup):
            shares = copied_share(known, unseen, len(setup.data), len(setup.reference))
            values |= dict(zip(("copies", "copies-error"), shares, strict=True))
        return values
