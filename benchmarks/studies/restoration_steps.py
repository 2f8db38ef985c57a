"""Restorations by samplers that take the linear part of the way in closed form, beside N(0, I)."""

from __future__ import annotations

from collections.abc import Sequence

import pandas

from benchmarks.studies import lead, restoration
from benchmarks.studies.alike import means, refuse_unlike
from benchmarks.studies.tables import BASE, FEATURES
from flowprior.study.table import DataFrame, Series, select

FOLDER = "{task}-steps"
"""Where the study of a task lies."""
ONE_SAMPLER = "{task}-one-sampler"
"""Where that of one sampler lies that is to serve all metrics."""
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


def baseline(steps: DataFrame, base: DataFrame, metric: str) -> Series:
    """N(0, I) in the study of the task, same seeds: a value for each number of evaluations.

    Raises:
        UnlikeStudies: as :func:`of_the_same_seeds`.
    """
    return restoration.values(of_the_same_seeds(base, steps), metric).loc[BASE]


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
    least = {metric: baseline(steps, base, metric).min() for metric in judged}
    return pandas.DataFrame({metric: by_sampler(steps, metric)[nfe] / least[metric] for metric in judged})


def chosen(steps: DataFrame, base: DataFrame, judged: Sequence[str] = FEATURES, nfe: int = NFE) -> DataFrame:
    """For each distance the sampler that the validation split prefers by it, and its :func:`over_least`.

    Scores are not known of the validation split.

    Returns:
        A row for each metric: the ``sampler``, a column for what it comes to by each metric.
    """
    ratios = over_least(steps, base, judged, nfe)
    preferred = {metric: by_sampler(steps, metric, lead.VALIDATION)[nfe].idxmin() for metric in judged}
    rows = {metric: {"sampler": sampler, **ratios.loc[sampler]} for metric, sampler in preferred.items()}
    return pandas.DataFrame.from_dict(rows, orient="index")
