"""The charts of the page of results, each of one column, so that a telephone shows it whole.

A chart holds the digest of its values in its file; a test compares it with the results.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.studies import tables
from benchmarks.studies.tables import BASE, BASELINES, BUDGETS, FEATURES, OURS, select
from flowprior.pictures import save_figure
from flowprior.pictures.quality import Curve, draw_curves, look, name_below
from flowprior.report.wording import ARROWS
from flowprior.study.table import DataFrame

WIDTH, DPI = 4.8, 130
SMALL = 9
"""Points of texts; on a page of 350 pixels the same in pixels."""
NAMES = {
    OURS: "default: latent-gmm + posterior",
    BASE: "gaussian+condot: N(0, I), paired at random",
    "torchcfm-ot": "torchcfm-ot: torchcfm, optimal transport in batches",
    "flow_matching": "flow_matching: Meta's library, paired at random",
}
"""Setting -> what it is called below the chart; another one goes by its own name."""
FEATURE_NAMES: Mapping[str, str] = dict(
    zip(FEATURES, ("features of the data's classifier", "ImageNet features"), strict=True)
)
DIGEST = "values"
"""Keyword of the digest in the file."""


def quality() -> DataFrame:
    """Distances of the default and the baselines against evaluations."""
    rows = select(tables.lead(), steps=list(BUDGETS), flow=[OURS, *BASELINES])
    return _means(rows, ["steps", "metric", "flow", "nfe"])


def _means(rows: DataFrame, index: list[str]) -> DataFrame:
    return rows.groupby(index)["value"].mean().reset_index()


def draw_quality(found: DataFrame) -> Figure:
    """A panel for each feature and training."""
    figure = Figure(figsize=(WIDTH, 5.3), dpi=DPI, layout="constrained")
    panels = figure.subplots(len(FEATURES), len(BUDGETS), sharex=True, sharey="row")
    flows = [flow for flow in (OURS, *BASELINES) if flow in set(found["flow"])]
    for row, metric in zip(panels, FEATURES, strict=True):
        for axes, steps in zip(row, BUDGETS, strict=True):
            own = select(found, metric=metric, steps=steps)
            curves = {flow: select(own, flow=flow) for flow in flows if flow in set(own["flow"])}
            draw_curves(
                axes, {flow: _curve(part, "nfe") for flow, part in curves.items()}, styles=_styles(flows)
            )
        row[0].set_ylabel(_label(metric), fontsize=SMALL)
    for steps, top, bottom in zip(BUDGETS, panels[0], panels[-1], strict=True):
        top.set_title(f"after {steps:,} steps", fontsize=SMALL)
        bottom.set_xlabel("evaluations (NFE)", fontsize=SMALL)
    name_below(figure.axes[0])
    return figure


def _styles(flows: list[str]) -> dict[str, dict[str, Any]]:
    return {
        flow: look(number) | {"label": NAMES.get(flow, flow), "capsize": 0}
        for number, flow in enumerate(flows)
    }


def _label(metric: str) -> str:
    return f"Fréchet distance{ARROWS['lower']},\n{FEATURE_NAMES[metric]}"


def _curve(rows: DataFrame, places: str) -> Curve:
    ordered = rows.sort_values(places)
    return Curve(list(ordered[places]), list(ordered["value"]), [0.0] * len(ordered))


CHARTS: Mapping[str, tuple[Callable[[], DataFrame], Callable[[DataFrame], Figure]]] = {
    "overview-quality": (quality, draw_quality),
}
"""Name of a chart -> where its values are from, and what draws them."""


def digest(found: DataFrame) -> str:
    """Return the SHA-256 of the table to four digits, by which a chart is known to show these values."""
    text = found.to_csv(index=False, float_format="%.4g", lineterminator="\n")
    return hashlib.sha256(text.encode()).hexdigest()


def draw_all(folder: Path) -> None:
    """Draw all charts into a folder."""
    for name, (values, draw) in CHARTS.items():
        found = values()
        save_figure(draw(found), folder / f"{name}.png", {DIGEST: digest(found)})
