"""What one evaluation of an average velocity is worth beside many of the velocity."""

from __future__ import annotations

from benchmarks.studies import lead
from benchmarks.studies.alike import joined
from flowprior.study.table import DataFrame, select

AVERAGE = "average velocity"
VELOCITY = "lead-8000-small"
"""The study whose default stands beside it: the same network, and steps that take as many seconds."""
COMPARED = ("prediction", "steps", "sampler")
GOAL = 1.15
"""What one evaluation may have of the default's least distance."""


def beside(average: DataFrame, velocity: DataFrame) -> DataFrame:
    """The rows of the average velocity, and those of the default of the other study, same seeds.

    Raises:
        UnlikeStudies: the two differ in more than :data:`COMPARED`, such as in the network.
    """
    own = select(velocity, flow=[lead.OURS])
    return joined(average, own[own["seed"].isin(average["seed"])], COMPARED)


def minutes(runs: DataFrame) -> float:
    """What the steps of a training took, mean over the cells."""
    return float((runs["seconds_per_step"] * runs["steps"]).mean() / 60)


def over_best(table: DataFrame, metric: str, nfe: int = 1) -> float:
    """The average velocity's distance at ``nfe`` evaluations over the default's least at any number."""
    found = lead.settings(table, metric)
    return float(found.loc[AVERAGE, nfe] / found.loc[lead.OURS].min())


def over_same(table: DataFrame, metric: str, nfe: int = 1) -> float:
    """The average velocity's distance over the default's at the same number of evaluations."""
    found = lead.settings(table, metric)
    return float(found.loc[AVERAGE, nfe] / found.loc[lead.OURS, nfe])
