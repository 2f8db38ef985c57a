"""A round of rectification: the flow that made its pairs, and what came of it, one table."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.studies import lead, one_evaluation
from benchmarks.studies.alike import joined, refuse_unlike
from flowprior.study.table import DataFrame, select

ROUND = "reflow"
COMPARED = ("coupling", "init", "steps", "nfe", "seed", "sampler", "time")
"""What the round differs in from the flow before it: pairs, weights to start with, grids and seeds, times."""


ON_DIGITS = (*COMPARED, "prediction", "loss_weight")
"""On digits average velocities stand beside the rounds, and a round may have a loss weight of its own."""


def on_digits(parts: DataFrame, rounds: Mapping[str, DataFrame]) -> DataFrame:
    """The rounds on digits below default and average velocity, which were trained from random weights.

    Args:
        parts: the study of the default's parts.
        rounds: what stands behind the name of a setting -> the study of it.

    Raises:
        UnlikeStudies: they differ in more than :data:`ON_DIGITS`.
    """
    table = select(parts, flow=[lead.OURS, one_evaluation.AVERAGE])
    for suffix, own in rounds.items():
        named = own.assign(flow=own["flow"].where(own["flow"].ne(ROUND), ROUND + suffix))
        table = joined(table, named if not suffix else select(named, flow=[ROUND + suffix]), ON_DIGITS)
    return table


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
