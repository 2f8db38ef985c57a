"""What is read off the study of convergence: when a design is as good as another one ends."""

from __future__ import annotations

import math
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.studies.tables import curves
from flowprior.pictures import save_figure
from flowprior.study.table import DataFrame, select

OURS = "default"
QUALITY = ("fid-cnn128", "fid-lite0")
NFES = (4, 15)


def seconds(table: DataFrame, runs: DataFrame) -> DataFrame:
    """Means over seeds: a row for each setting.

    Columns: ``fit`` of the prior, ``step``, and for each number of evaluations the drawing of as many samples
    as the curve's points are judged by.
    """
    own = runs.groupby("label", sort=False)
    found = own[["prior_fit_seconds", "seconds_per_step"]].mean().fillna({"prior_fit_seconds": 0.0})
    found = found.rename(columns={"prior_fit_seconds": "fit", "seconds_per_step": "step"})
    drawing = select(table[table["step"].notna()], metric="seconds").groupby(["flow", "nfe"])["value"].mean()
    return found.join(drawing.unstack("nfe"))


def spent(cost: DataFrame, flow: str, step: float, nfe: int) -> float:
    """Seconds until samples by ``nfe`` evaluations are there from a flow of so many steps."""
    return float(cost.loc[flow, "fit"] + step * cost.loc[flow, "step"] + cost.loc[flow, nfe])


def as_good_from(table: DataFrame, metric: str) -> DataFrame:
    """How soon ``OURS`` is as good as each other setting is at its end.

    A row for each (setting, number of evaluations). Columns: its ``end``, and ``step``, the first evaluated
    one at which ours is as good, infinite where there is none.
    """
    import pandas as pd

    curve, rows = curves(table, metric), {}
    last = int(curve.columns[-1])
    for flow in curve.index.get_level_values("flow").unique().drop(OURS):
        for nfe in NFES:
            end = curve.loc[(flow, nfe), last]
            good = curve.columns[curve.loc[(OURS, nfe)] <= end]
            rows[(flow, nfe)] = {"end": end, "step": float(good[0]) if len(good) else math.inf}
    return pd.DataFrame.from_dict(rows, orient="index")


def reached(table: DataFrame, runs: DataFrame, metric: str) -> DataFrame:
    """:func:`as_good_from` with ``share``, of the steps, and ``seconds``, ours until there over its own.

    All three are infinite where ours is never as good.
    """
    found, cost = as_good_from(table, metric), seconds(table, runs)
    last = int(curves(table, metric).columns[-1])
    found["share"] = found["step"] / last
    found["seconds"] = [
        spent(cost, OURS, step, nfe) / spent(cost, flow, last, nfe)
        for (flow, nfe), step in found["step"].items()
    ]
    return found


def draw_curves(table: DataFrame, runs: DataFrame, path: Path) -> None:
    """Quality at 15 evaluations against steps, and against seconds."""
    cost, nfe = seconds(table, runs), NFES[-1]
    figure = Figure(figsize=(9.0, 6.0), layout="constrained")
    for row, metric in zip(figure.subplots(2, 2, sharey="row"), QUALITY, strict=True):
        curve = curves(table, metric)
        for flow in curve.index.get_level_values("flow").unique():
            steps = [int(step) for step in curve.columns]
            times = [spent(cost, flow, step, nfe) for step in steps]
            for axes, places in zip(row, (steps, times), strict=True):
                values, width = curve.loc[(flow, nfe)].to_list(), 2.5 if flow == OURS else 1.0
                axes.plot(places, values, "o-", markersize=3, linewidth=width, label=flow)
        row[0].set_ylabel(f"{metric}, NFE {nfe}")
        for axes, label in zip(row, ("steps", "seconds of fit, training and drawing"), strict=True):
            axes.set_yscale("log")
            axes.set_xlabel(label)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    save_figure(figure, path)
