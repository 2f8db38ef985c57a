"""What one evaluation of an average velocity is worth beside many of the velocity."""

from __future__ import annotations

import pandas

from benchmarks.studies import lead
from flowprior.study.table import DataFrame, select

AVERAGE = "average velocity"
GOAL = 1.15
"""What one evaluation may have of the default's least distance."""


def beside(average: DataFrame, velocity: DataFrame) -> DataFrame:
    """The rows of the average velocity, and those of the default from the study of its lead, same seeds."""
    own = select(velocity, flow=[lead.OURS])
    parts = [
        part.dropna(axis="columns", how="all") for part in (own[own["seed"].isin(average["seed"])], average)
    ]
    return pandas.concat(parts, ignore_index=True).reindex(columns=average.columns)


def over_best(table: DataFrame, metric: str, nfe: int = 1) -> float:
    """The average velocity's distance at ``nfe`` evaluations over the default's least at any number."""
    found = lead.settings(table, metric)
    return float(found.loc[AVERAGE, nfe] / found.loc[lead.OURS].min())


def over_same(table: DataFrame, metric: str, nfe: int = 1) -> float:
    """The average velocity's distance over the default's at the same number of evaluations."""
    found = lead.settings(table, metric)
    return float(found.loc[AVERAGE, nfe] / found.loc[lead.OURS, nfe])
