"""A designed start for a network trained from N(0, I): how soon it is as good as one from scratch."""

from __future__ import annotations

from benchmarks.studies import lead
from benchmarks.studies.alike import means, refuse_unlike
from benchmarks.studies.tables import BASE, FEATURES, curves
from flowprior.study.table import DataFrame, Series, select

SHOWN = (100, 200, 500, 1000)
"""Steps of the page's table."""
COMPARED = ("init",)
"""What the warm start differs in from a training from scratch."""
FROM_BASE = ("init", "steps", "nfe", "sampler")
"""What a setting of the warm start's differs in from its base's training, where it goes on with it."""
LONGER = "lead-8000-small"
"""The study of a longer training from random weights, with the same network."""
FROM_LONGER = ("init", "steps", "nfe", "sampler", "seed")
"""What the default differs in from the one there."""


def beside(warm: DataFrame, scratch: DataFrame, metric: str) -> tuple[DataFrame, DataFrame]:
    """The curves of the warm start and of the training from scratch.

    Raises:
        UnlikeStudies: the two differ in more than the weights that the network starts with.
    """
    refuse_unlike(warm, scratch, COMPARED)
    return on_the_way(warm, metric), on_the_way(scratch, metric)


def base_at_the_end(base: DataFrame, warm: DataFrame, metric: str) -> Series:
    """NFE -> the base's test value at its last step.

    Raises:
        UnlikeStudies: it is not the same training, but for its length.
    """
    refuse_unlike(select(base, label=BASE), select(warm, label=BASE), FROM_BASE)
    return on_the_way(base, metric).iloc[:, -1].loc[BASE]


def on_the_way(table: DataFrame, metric: str) -> DataFrame:
    """Test means over seeds: a row for each (setting, NFE), a column for each evaluated step."""
    return curves(select(table, split="test"), metric)


def reached(warm: DataFrame, scratch: DataFrame, setting: str, nfe: int) -> int | None:
    """The first evaluated step at which the warm start is as good as the other's last; None for none."""
    goal = scratch.loc[(setting, nfe)].iloc[-1]
    steps = warm.columns[warm.loc[(setting, nfe)] <= goal]
    return int(steps[0]) if len(steps) else None


def steps_needed(warm: DataFrame, scratch: DataFrame) -> list[int]:
    """When the warm start is as good as the training from scratch: of each design, metric and NFE.

    Raises:
        ValueError: somewhere it never is.
    """
    found = []
    for metric in FEATURES:
        own, cold = beside(warm, scratch, metric)
        found += [reached(own, cold, flow, nfe) for flow, nfe in own.index if flow != BASE]
    if None in found:
        raise ValueError(
            "the warm start is not everywhere as good as a training from scratch; say so instead"
        )
    return [step for step in found if step is not None]


def over_longer(warm: DataFrame, longer: DataFrame, metric: str, nfe: int) -> float:
    """The default's distance after its warm start over that after a longer training, both at its own grid.

    Raises:
        UnlikeStudies: the two differ in more than :data:`FROM_LONGER`.
    """
    ours, theirs = (select(table, flow=lead.OURS, step=None) for table in (warm, longer))
    refuse_unlike(ours, theirs, FROM_LONGER)
    ended = (select(table, sampler=lead.GRID) for table in (ours, theirs))
    own, other = (means(table, metric).loc[lead.OURS, nfe] for table in ended)
    return float(own / other)
