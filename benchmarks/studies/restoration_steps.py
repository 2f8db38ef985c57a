"""Restorations by samplers that take the linear part of the way in closed form, beside N(0, I)."""

from __future__ import annotations

from collections.abc import Sequence

import pandas

from benchmarks.studies import lead, restoration
from benchmarks.studies.alike import means, refuse_unlike
from benchmarks.studies.tables import BASE
from flowprior.study.table import DataFrame, select

FOLDER = "{task}-steps"
"""Where the study of a task lies."""
NFE = 4
"""Evaluations at which the design is held against the baseline's best at any number of them."""


def by_sampler(steps: DataFrame, metric: str, split: str = "test") -> DataFrame:
    """Means over seeds: a row for each sampler, a column for each number of evaluations."""
    return means(steps, metric, split, index=["sampler"])


def of_the_same_seeds(base: DataFrame, steps: DataFrame) -> DataFrame:
    """The rows of the task's study whose seeds the study of samplers has, too.

    Raises:
        UnlikeStudies: the design was trained or evaluated otherwise in the two studies.
    """
    found = base[base["seed"].isin(steps["seed"])]
    refuse_unlike(steps, select(found, flow=[restoration.OURS]), ("sampler", "nfe"))
    return found


def over_least(
    steps: DataFrame, base: DataFrame, judged: Sequence[str] = restoration.JUDGED, nfe: int = NFE
) -> DataFrame:
    """Each sampler at ``nfe`` evaluations over the baseline's best at any number of them, by metric.

    Args:
        steps: the study of samplers.
        base: that of the task, with the baseline; the same design is in both.
        judged: metrics, the columns of the result.
        nfe: evaluations.

    Raises:
        UnlikeStudies: the design was trained or evaluated otherwise in the two studies.
    """
    base = of_the_same_seeds(base, steps)
    least = {metric: restoration.values(base, metric).loc[BASE].min() for metric in judged}
    return pandas.DataFrame({metric: by_sampler(steps, metric)[nfe] / least[metric] for metric in judged})


def chosen(
    steps: DataFrame, base: DataFrame, judged: Sequence[str] = restoration.JUDGED, nfe: int = NFE
) -> DataFrame:
    """For each metric the sampler that the validation split prefers by it, and its :func:`over_least`.

    Returns:
        A row for each metric: the ``sampler``, a column for what it comes to by each metric.
    """
    ratios = over_least(steps, base, judged, nfe)
    preferred = {metric: by_sampler(steps, metric, lead.VALIDATION)[nfe].idxmin() for metric in judged}
    rows = {metric: {"sampler": sampler, **ratios.loc[sampler]} for metric, sampler in preferred.items()}
    return pandas.DataFrame.from_dict(rows, orient="index")


def behind(steps: DataFrame, base: DataFrame, judged: Sequence[str] = restoration.JUDGED) -> list[str]:
    """Where N(0, I) is ahead of the sampler that the validation split prefers: metric and evaluations."""
    base, found = of_the_same_seeds(base, steps), []
    for metric in judged:
        own, theirs = by_sampler(steps, metric), restoration.values(base, metric).loc[BASE]
        preferred = by_sampler(steps, metric, lead.VALIDATION)
        for nfe in own.columns.drop(0, errors="ignore"):
            if own[nfe][preferred[nfe].idxmin()] > theirs[nfe]:
                found.append(f"{metric} at {nfe:g}")
    return found
