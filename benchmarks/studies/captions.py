"""What is read off the study of captions: each setting at its best temperature, designs over baselines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas
from scipy.stats import fisher_exact

from flowprior.evaluation.result import REAL_DATA
from flowprior.study.table import DataFrame, Series, means, select, trained

BASELINES = ("condot", "batchot", "torchcfm-ot", "ddpm")
"""The settings that start from N(0, I)."""
DISTANCE, FOUND = "kid-lite0", "caption-top5-lite0"
VALIDATION, SEEN, UNSEEN = "validation", "test", "unseen"
GOALS: Mapping[int, float] = {4: 0.5, 15: 0.64}
"""NFE -> what the best design's distance over the best baseline's is to be at most, on seen captions."""


def preferred(table: DataFrame) -> DataFrame:
    """The sampler, and with it the temperature, of least distance on the validation split.

    A row for each flow, a column for each NFE; means over seeds decide.
    """
    own = trained(table, DISTANCE, split=VALIDATION)
    found = means(own, DISTANCE, VALIDATION, index=["flow", "sampler"])
    return found.groupby(level="flow", sort=False).idxmin().map(lambda place: place[1])


def at_preferred(table: DataFrame, metric: str, split: str) -> DataFrame:
    """Means of a metric on a split, each flow at its :func:`preferred` sampler."""
    every = means(table, metric, split, index=["flow", "sampler"])
    chosen = preferred(table)
    values = {
        nfe: {flow: every.loc[(flow, sampler), nfe] for flow, sampler in chosen[nfe].items()}
        for nfe in chosen
    }
    return pandas.DataFrame(values).reindex(chosen.index)


def temperature(sampler: str) -> str:
    """The temperature that a sampler's spec says."""
    _, _, found = sampler.partition("temperature=")
    return found.partition(",")[0] or "1"


def designs(found: DataFrame) -> list[str]:
    """The flows of a table that are no baseline, in their order."""
    return [flow for flow in found.index if flow not in BASELINES]


def has_both(table: DataFrame) -> bool:
    """Whether a design and a baseline ran."""
    flows = preferred(table)
    return bool(designs(flows)) and len(designs(flows)) < len(flows)


def best_design(table: DataFrame) -> str:
    """The design of the least distance on the validation split, mean over numbers of evaluations above 0."""
    found = at_preferred(table, DISTANCE, VALIDATION)
    return str(found.loc[designs(found), [nfe for nfe in found if nfe > 0]].mean(axis=1).idxmin())


def over_best_baseline(table: DataFrame, metric: str, split: str) -> Series:
    """The best design's mean over the best baseline's, by NFE."""
    found = at_preferred(table, metric, split)
    return found.loc[best_design(table)] / found.filter(BASELINES, axis="index").min()


def score_of(table: DataFrame, metric: str, split: str) -> float:
    """The real-data score of a metric on a split, mean over the cells."""
    return float(select(table, metric=metric, flow=REAL_DATA, split=split)["value"].mean())


def finds_more(table: DataFrame, split: str) -> DataFrame:
    """Whether the best design's captions are found more often than any baseline's, by NFE.

    Rows ``design`` and ``baseline``, the shares of samples whose caption is among the five nearest of 300,
    and ``p``, of Fisher's exact test on all samples of all seeds, two-sided. The samples of both are made for
    the same captions; a test that pairs them could only be sharper.
    """
    found, count = at_preferred(table, FOUND, split), _samples(table, split)
    ours, theirs = found.loc[best_design(table)], found.filter(BASELINES, axis="index").max()
    p = {nfe: _fisher(ours[nfe], theirs[nfe], count) for nfe in found}
    return pandas.DataFrame({"design": ours, "baseline": theirs, "p": pandas.Series(p)}).T


def _samples(table: DataFrame, split: str) -> int:
    """Samples of one setting and NFE, all seeds together."""
    own = trained(table, FOUND, split=split)
    return int(own["samples"].max()) * own["seed"].nunique()


def _fisher(ours: float, theirs: float, count: int) -> float:
    hits = [round(share * count) for share in (ours, theirs)]
    tested: Any = fisher_exact([[hit, count - hit] for hit in hits])
    return float(tested.pvalue)
