"""A designed start for a network trained from N(0, I): how soon it is as good as one from scratch."""

from __future__ import annotations

from benchmarks.studies.alike import refuse_unlike
from benchmarks.studies.tables import BASE, curves
from flowprior.study.table import DataFrame, Series, select

SHOWN = (100, 200, 500, 1000)
"""Steps of the page's table."""
COMPARED = ("init",)
"""What the warm start differs in from a training from scratch."""
FROM_BASE = ("init", "steps", "nfe", "sampler")
"""What a setting of the warm start's differs in from its base's training, where it goes on with it."""
LONGER = ("init", "steps", "nfe", "sampler", "seed")
"""What the default differs in from one of a longer training from random weights."""


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
    refuse_unlike(*(select(table, label=BASE) for table in (base, warm)), FROM_BASE)
    return on_the_way(base, metric).iloc[:, -1].loc[BASE]


def on_the_way(table: DataFrame, metric: str) -> DataFrame:
    """Test means over seeds: a row for each (setting, NFE), a column for each evaluated step."""
    return curves(select(table, split="test"), metric)


def reached(warm: DataFrame, scratch: DataFrame, setting: str, nfe: int) -> int | None:
    """The first evaluated step at which the warm start is as good as the other's last; None for none."""
    goal = scratch.loc[(setting, nfe)].iloc[-1]
    steps = warm.columns[warm.loc[(setting, nfe)] <= goal]
    return int(steps[0]) if len(steps) else None
