"""What one evaluation of an average velocity is worth beside many of the velocity."""

from __future__ import annotations

from collections.abc import Sequence

import pandas

from benchmarks.studies import lead
from benchmarks.studies.alike import joined, means, refuse_unlike
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


def by_sampler(guided: DataFrame, metrics: Sequence[str]) -> DataFrame:
    """Test means of average velocities: a row for the options of a sampler, columns (metric, NFE)."""
    found = {metric: means(guided, metric, index=["sampler"]) for metric in metrics}
    table = pandas.concat(found, axis="columns")
    return table.rename(index=lambda sampler: _options_beside_the_grid(str(sampler)))


def preferred(table: DataFrame, metric: str, nfe: int = 1) -> str:
    """The sampler that the validation split prefers at ``nfe`` evaluations."""
    return str(means(table, metric, lead.VALIDATION, index=["sampler"])[nfe].idxmin())


def from_late_start(late: DataFrame, metrics: Sequence[str]) -> DataFrame:
    """One evaluation of the default as it is, and by the options that the validation split prefers.

    Returns:
        A row for each metric: ``plain`` and ``chosen``, what both come to by it, and the ``options`` of the
        second.
    """
    rows = {}
    for metric in metrics:
        found, sampler = means(late, metric, index=["sampler"])[1], preferred(late, metric)
        own = {"plain": float(found[lead.GRID]), "chosen": float(found[sampler])}
        rows[metric] = {"options": _options_beside_the_grid(sampler), **own}
    return pandas.DataFrame.from_dict(rows, orient="index")


def chosen_over_best(guided: DataFrame, table: DataFrame, metrics: Sequence[str]) -> DataFrame:
    """One evaluation from the source samples that the validation split prefers, over the default's least.

    Args:
        guided: the study of guided source samples.
        table: what :func:`beside` gives; the default is read off it.
        metrics: each has a row for what it prefers, and a column for what that is worth by it.

    Returns:
        The ratios, and in the column ``options`` those of the sampler that was chosen.

    Raises:
        UnlikeStudies: the flows of the two were trained or evaluated otherwise.
    """
    refuse_unlike(guided, select(table, flow=[AVERAGE]), ("sampler", "nfe"))
    found = {}
    for metric in metrics:
        sampler = preferred(guided, metric)
        own = {by: means(guided, by, index=["sampler"]).loc[sampler, 1] for by in metrics}
        least = {by: lead.settings(table, by).loc[lead.OURS].min() for by in metrics}
        ratios = {by: float(own[by] / least[by]) for by in metrics}
        found[metric] = {"options": _options_beside_the_grid(str(sampler)), **ratios}
    return pandas.DataFrame.from_dict(found, orient="index")


def _options_beside_the_grid(sampler: str) -> str:
    """The options of a spec that the samplers of the study do not share, in backticks."""
    own = [part for part in sampler.partition(":")[2].split(",") if part.split("=")[0] not in ("grid", "at")]
    return f"`{','.join(own)}`" if own else "nothing else"
