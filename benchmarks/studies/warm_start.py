"""A designed start for a network trained from N(0, I): how soon it is as good as one from scratch."""

from __future__ import annotations

from benchmarks.studies.tables import curves
from flowprior.study.table import DataFrame, Series, select

SHOWN = (100, 200, 500, 1000)
"""Steps of the page's table."""


def on_the_way(table: DataFrame, metric: str) -> DataFrame:
    """Test means over seeds: a row for each (setting, NFE), a column for each evaluated step."""
    return curves(select(table, split="test"), metric)


def at_the_end(table: DataFrame, metric: str) -> Series:
    """(setting, NFE) -> test mean after the last evaluated step."""
    return on_the_way(table, metric).iloc[:, -1]


def reached(warm: DataFrame, scratch: DataFrame, setting: str, nfe: int) -> int | None:
    """The first evaluated step at which the warm start is as good as the other's last; None for none."""
    goal = scratch.loc[(setting, nfe)].iloc[-1]
    steps = warm.columns[warm.loc[(setting, nfe)] <= goal]
    return int(steps[0]) if len(steps) else None
