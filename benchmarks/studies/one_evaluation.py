"""What one evaluation of an average velocity is worth beside many of the velocity."""

from __future__ import annotations

from benchmarks.studies import lead
from flowprior.study.table import DataFrame

AVERAGE = "average velocity"
GOAL = 1.15
"""What one evaluation may have of the default's least distance."""


def over_best(table: DataFrame, metric: str, nfe: int = 1) -> float:
    """The average velocity's distance at ``nfe`` evaluations over the default's least at any number."""
    found = lead.settings(table, metric)
    return float(found.loc[AVERAGE, nfe] / found.loc[lead.OURS].min())


def over_same(table: DataFrame, metric: str, nfe: int = 1) -> float:
    """The average velocity's distance over the default's at the same number of evaluations."""
    found = lead.settings(table, metric)
    return float(found.loc[AVERAGE, nfe] / found.loc[lead.OURS, nfe])
