"""A round of rectification: the flow that made its pairs, and what came of it, one table."""

from __future__ import annotations

from benchmarks.studies import lead
from benchmarks.studies.alike import refuse_unlike
from flowprior.study.table import DataFrame, select

COMPARED = ("coupling", "init", "steps", "nfe", "seed", "sampler", "time")
"""What the round differs in from the flow before it: pairs, weights to start with, grids and seeds, times."""


def outcome(after: DataFrame, before: DataFrame, metric: str) -> DataFrame:
    """Test means after the round: a row for each setting, a column for each NFE.

    Raises:
        UnlikeStudies: the flow before was trained otherwise in more than :data:`COMPARED`.
    """
    refuse_unlike(select(after, step=None), _as_it_was(before), COMPARED)
    return lead.settings(after, metric)


def as_it_was(before: DataFrame, metric: str) -> DataFrame:
    """The same of the flow before the round, at its own grid of times."""
    return lead.settings(_as_it_was(before), metric).loc[lead.OURS]


def _as_it_was(table: DataFrame) -> DataFrame:
    return select(table, step=None, flow=[lead.OURS])
