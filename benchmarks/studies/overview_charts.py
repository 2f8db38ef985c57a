"""The charts of :mod:`benchmarks.studies.overview`, each of one column, so that a telephone shows them whole.

A chart bears the digest of its values in the file, by which a test sees whether it is still theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.studies import lead, overview
from benchmarks.studies.tables import BASE
from flowprior.pictures import save_figure
from flowprior.pictures.curves import Curve, draw_curves, name_below
from flowprior.pictures.looks import look
from flowprior.report.wording import ARROWS
from flowprior.study.table import DataFrame, select

WIDTH, DPI = 4.8, 130
SMALL = 9
"""Points of texts; on a page of 350 pixels the same in pixels."""
NAMES = {
    lead.OURS: "default: latent-gmm + posterior",
    BASE: "gaussian+condot: N(0, I), paired at random",
    "torchcfm-ot": "torchcfm-ot: torchcfm, optimal transport in batches",
    "flow_matching": "flow_matching: Meta's library, paired at random",
}
"""Setting -> what it is called below the chart; a rival that is not named here goes by its own name."""
LOWER = ARROWS["lower"]
PLAIN = {"capsize": 0}
"""Means over seeds, without bars."""
DIGEST = "values"
"""Keyword of the digest in the file."""


def draw_quality(found: DataFrame) -> Figure:
    """Distances of :func:`overview.quality` against evaluations, a panel for each feature and training."""
    steps, features = list(found["steps"].unique()), list(found["metric"].unique())
    figure = _figure(2.1 * len(features) + 1.1)
    panels = figure.subplots(len(features), len(steps), sharex=True, sharey="row", squeeze=False)
    flows = list(found["flow"].unique())
    styles = {
        name: look(number) | {"label": NAMES.get(name, name), **PLAIN} for number, name in enumerate(flows)
    }
    for row, metric in zip(panels, features, strict=True):
        for axes, budget in zip(row, steps, strict=True):
            own = select(found, metric=metric, steps=int(budget)).groupby("flow", sort=False)
            curves = {str(name): _curve(part["nfe"], part["value"]) for name, part in own}
            draw_curves(axes, curves, styles=styles)
        row[0].set_ylabel(f"Fréchet distance{LOWER},\n{overview.FEATURE_NAMES[metric]}", fontsize=SMALL)
    for budget, top, bottom in zip(steps, panels[0], panels[-1], strict=True):
        top.set_title(f"after {budget:,} steps", fontsize=SMALL)
        bottom.set_xlabel("evaluations (NFE)", fontsize=SMALL)
    name_below(figure.axes[0])
    return figure


def draw_conditions(found: DataFrame) -> Figure:
    """Ratios of :func:`overview.conditions`, a line for each task and metric; above 1 the design is worse."""
    lines = _lines(found)
    figure = _figure(0.21 * len(lines) + 1.2)
    axes = figure.subplots()
    axes.axvspan(1, 10, color="0.92", lw=0)
    axes.axvline(1, color="0.3", lw=1)
    places = {line: -place for place, line in enumerate(lines)}
    for number, (name, own) in enumerate(_by_evaluations(found).items()):
        shift = 0.22 * (1 - number)
        heights = [places[line] + shift for line in zip(own["task"], own["metric"], strict=True)]
        axes.plot(own["ratio"], heights, ls="", ms=5.5, mec="white", mew=0.6, label=name, **look(number))
    axes.set_yticks(
        list(places.values()), [overview.METRIC_NAMES.get(metric, task) for task, metric in lines]
    )
    for (_, metric), label in zip(lines, axes.get_yticklabels(), strict=True):
        label.set_fontweight("normal" if metric else "bold")
    _set_ratio_scale(axes, found["ratio"])
    axes.set_ylim(0.4 - len(lines), 0.7)
    axes.set_xlabel("design / start from N(0, I)\n(left of 1 the design is better)", fontsize=SMALL)
    name_below(axes)
    return figure


def _lines(found: DataFrame) -> list[tuple[str, str]]:
    """Task and metric of each line from the top; one without a metric is the task's heading."""
    own = found.drop_duplicates(["task", "metric"]).groupby("task", sort=False)["metric"]
    return [(str(task), metric) for task, metrics in own for metric in ("", *metrics)]


def _by_evaluations(found: DataFrame) -> dict[str, DataFrame]:
    """The few and the most evaluations of each line, by what they are called."""
    most = sorted(found["nfe"][~found["nfe"].isin(overview.SOME)].unique())
    named = {f"NFE {nfe}": select(found, nfe=nfe) for nfe in overview.SOME}
    return named | {
        f"NFE {' or '.join(map(str, most))}, the most": select(found, nfe=[int(nfe) for nfe in most])
    }


def _set_ratio_scale(axes: Axes, ratios: Any) -> None:
    """A logarithmic axis from the least ratio to the greatest, ticks at a few plain numbers."""
    axes.set_xscale("log")
    axes.set_xlim(min(0.5, 0.93 * ratios.min()), max(1.15, 1.07 * ratios.max()))
    axes.set_xticks([0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.2], ["0.3", "0.4", "0.5", "0.6", "0.8", "1", "1.2"])
    axes.set_xticks([], minor=True)
    axes.grid(alpha=0.25)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _figure(height: float) -> Figure:
    return Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")


def _curve(places: Any, values: Any) -> Curve:
    return Curve(list(places), list(values), [0.0] * len(values))


CHARTS: Mapping[str, tuple[Callable[[overview.Tables], DataFrame], Callable[[DataFrame], Figure]]] = {
    "overview-quality": (overview.quality, draw_quality),
    "overview-conditions": (overview.conditions, draw_conditions),
}
"""Name of a picture -> where its values are from, and what draws them."""


def draw_all(tables: overview.Tables, folder: Path) -> None:
    """Draw into a folder the charts whose studies have run."""
    for name, (values, draw) in CHARTS.items():
        if len(found := values(tables)):
            save_figure(draw(found), folder / f"{name}.png", {DIGEST: overview.digest(found)})
