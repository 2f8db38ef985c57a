"""What is measured of labels with few examples, and what is read off it.

values = "benchmarks.studies.few_labels:values"

Labels are judged one by one: the other labels of a data set may have all of their examples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from benchmarks.studies import Row, everything, generator, rows_of
from benchmarks.studies.digits import classifier, split
from flowprior.data import load_data
from flowprior.flow import Flow
from flowprior.metrics.kernel import polynomial_mmd2
from flowprior.registry import parse_spec
from flowprior.study.table import DataFrame, means

OURS, BASELINE = "default", "gaussian+condot"
GRIDS: Mapping[str, str] = {
    "uniform": "euler",
    "power": "euler:grid=power,exponent=0.5",
    "last-0.7": "euler:grid=last,at=0.7",
}
OWN_GRID = "last-0.7"
"""The default's grid of times, one for every number of evaluations."""
NFES = (0, 1, 4, 15)
SAMPLES = 500
DISTANCE = "kernel-distance"
NEAREST = "nearest-q05"
CLOSE = 0.05
"""Quantile of the distances to the nearest training example."""


def values(flow: Flow, cell: Any, data: Any) -> list[Row]:
    """Of the labels with the fewest examples, at every number of evaluations and with every grid of times.

    ``kernel-distance``: unbiased squared kernel distance (Bińkowski et al. 2018) between samples and test
    pictures of a label on the digits' classifier's features, the mean over the labels. ``nearest-q05``: the
    5 % quantile of the samples' distances to the nearest training example of their label, over that of its
    test pictures; the mean over the labels. 1: as far as pictures that are new; 0: copies.
    """
    x, labels = everything(load_data(cell.config.data))
    count = torch.bincount(labels)
    few = (count == count.min()).nonzero()[:, 0]
    cond = few[torch.arange(SAMPLES) % len(few)]
    rows = []
    for nfe in NFES:
        for name, sampler in GRIDS.items():
            drawn = flow.sample(cond, nfe=nfe, sampler=sampler, generator=generator(cell.seed)).float()
            found = [_of_label(drawn[cond == label], x[labels == label], int(label)) for label in few]
            for metric in (DISTANCE, NEAREST):
                mean = sum(own[metric] for own in found) / len(found)
                rows += rows_of({metric: mean}, nfe=nfe, sampler=name, samples=SAMPLES, split="test")
    return rows


def _of_label(drawn: Tensor, known: Tensor, label: int) -> dict[str, float]:
    """Both values of one label's samples, its training examples ``known``."""
    test, labels = everything(split("test"))
    real, features = test[labels == label], classifier().features
    drawn = drawn.clamp(-1, 1)
    distance = polynomial_mmd2(features(drawn), features(real))
    nearest = [_nearest(x, known).quantile(CLOSE) for x in (drawn, real)]
    return {DISTANCE: distance, NEAREST: float(nearest[0] / nearest[1])}


def _nearest(x: Tensor, known: Tensor) -> Tensor:
    return torch.cdist(x.flatten(1), known.flatten(1)).amin(1)


def at_own_grid(table: DataFrame, metric: str) -> DataFrame:
    """Means over seeds: a row for each (labels, count, setting), a column for each NFE.

    ``labels`` with so few examples are ``all`` of them, or ``one`` beside full ones. The default stands at
    its own grid, every other setting at the grid that is best for its kernel distance at that NFE; that is
    chosen on the samples that are judged, in their favour.
    """
    table = table.assign(**{name: table["data"].map(found) for name, found in PLACES.items()})
    distance, wanted = (means(table, name, index=[*PLACES, "flow", "sampler"]) for name in (DISTANCE, metric))
    best = distance.eq(distance.groupby(level=[*PLACES, "flow"]).transform("min"))
    flow, sampler = (best.index.get_level_values(name) for name in ("flow", "sampler"))
    best.loc[flow == OURS] = False
    best.loc[(flow == OURS) & (sampler == OWN_GRID)] = True
    return wanted.where(best).groupby(level=[*PLACES, "flow"]).first()


def over_baseline(found: DataFrame) -> DataFrame:
    """The default's kernel distance over the baseline's: rows (labels, count), columns NFE."""
    ours, baseline = (found.xs(flow, level="flow") for flow in (OURS, BASELINE))
    return ours / baseline


def _options(data: str) -> Mapping[str, Any]:
    return parse_spec(data, "data").options


PLACES: Mapping[str, Callable[[str], Any]] = {
    "labels": lambda data: "all" if _options(data).get("alone") is None else "one",
    "count": lambda data: int(_options(data)["count"]),
}
