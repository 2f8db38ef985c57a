"""What becomes of the default's lead in a long training: distances against steps, side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.studies.lead import over_best_rival
from benchmarks.studies.tables import BASE, FEATURES, curves
from flowprior.pictures import save_figure
from flowprior.study.table import DataFrame, select

OURS = "default"
NFES = (1, 4, 15)
PIECES = "long-training-pieces.json"
"""Beside the folder of the cells: setting -> its pieces, as long_training.py recorded them."""
SHOWN = 5
"""Columns of the page's table."""


def on_the_way(table: DataFrame, metric: str) -> DataFrame:
    """Test values: a row for each (setting, NFE), a column for each evaluated step."""
    return curves(select(table, split="test"), metric)


def shown(table: DataFrame, metric: str) -> DataFrame:
    """Of :func:`on_the_way` some of the steps: each about twice the one before, and the last."""
    found = on_the_way(table, metric)
    steps = [int(step) for step in found.columns]
    wanted = [steps[-1] / 2**k for k in range(SHOWN)]
    return found[sorted({min(steps, key=lambda step: abs(step - goal)) for goal in wanted})]


def lead(table: DataFrame, metric: str) -> DataFrame:
    """Ours over the base: a row for each NFE, a column for each evaluated step."""
    found = on_the_way(table, metric)
    return found.loc[OURS] / found.loc[BASE]


def overtaken(table: DataFrame) -> list[str]:
    """Where the base is ahead of ours at the end: each at its best grid of times, ours at its own."""
    ratios = {metric: over_best_rival(table, metric) for metric in FEATURES}
    own = {(metric, nfe): ratio for metric, found in ratios.items() for nfe, ratio in found.items()}
    return [f"{metric}, NFE {nfe}" for (metric, nfe), ratio in own.items() if ratio > 1]


def read_pieces(root: Path) -> dict[str, list[dict[str, Any]]]:
    """Setting -> the pieces of its training; empty where nothing was recorded."""
    path = root / PIECES
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def killed(pieces: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The pieces that SIGKILL ended."""
    return [piece for piece in pieces if piece["code"] == -9]


def draw_curves(table: DataFrame, path: Path) -> None:
    """Distances against steps, at 1, 4 and 15 evaluations, on both features."""
    figure = Figure(figsize=(9.0, 5.6), layout="constrained")
    for row, metric in zip(figure.subplots(2, len(NFES), sharex=True), FEATURES, strict=True):
        found = on_the_way(table, metric)
        for axes, nfe in zip(row, NFES, strict=True):
            for flow in (BASE, OURS):
                own = found.loc[(flow, nfe)]
                steps = [int(step) / 1000 for step in found.columns]
                width = 2.5 if flow == OURS else 1.0
                axes.plot(steps, own.to_list(), "o-", markersize=3, linewidth=width, label=flow)
            axes.set_yscale("log")
            axes.set_title(f"NFE {nfe}", fontsize=10)
        row[0].set_ylabel(metric)
    for axes in figure.axes[-len(NFES) :]:
        axes.set_xlabel("thousand steps")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    save_figure(figure, path)
