"""The chart of the page of results, of one column, so that a telephone shows it whole.

It holds the digest of its values in its file; a test compares it with the results.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.studies import tables
from benchmarks.studies.headline.comparison import results
from benchmarks.studies.tables import BASE, FEATURES, OURS, select
from flowprior.pictures import save_figure
from flowprior.pictures.quality import Curve, draw_curves, look, name_below
from flowprior.report.wording import ARROWS
from flowprior.study.table import DataFrame

WIDTH, DPI = 4.8, 130
SMALL = 9
"""Points of texts; on a page of 350 pixels the same in pixels."""
SHOWN = (("fashion-mnist", 1000), ("digits", 1000))
"""The data sets and steps of the panels."""
NAMES = {
    OURS: "default: latent-gmm + posterior",
    BASE: "gaussian+condot: N(0, I), paired at random",
    "gaussian+ot8192": "gaussian+ot8192: N(0, I), optimal transport over 8,192",
    "gaussian+semidiscrete": "gaussian+semidiscrete: N(0, I), semidiscrete transport",
    "gmm+condot": "gmm+condot: the paper's prior, paired at random",
    "gmm+ot": "gmm+ot: the paper's prior, optimal transport in batches",
}
"""Setting -> what it is called below the chart, in order."""
FEATURE_NAMES: Mapping[str, str] = dict(
    zip(FEATURES, ("features of the data's classifier", "ImageNet features"), strict=True)
)
DIGEST = "values"
"""Keyword of the digest in the file."""


def quality() -> DataFrame:
    """Distances of the default and some baselines against evaluations."""
    parts = [results(data, steps=steps).assign(data=data) for data, steps in SHOWN]
    rows = select(tables.joined(parts), metric=list(FEATURES), flow=list(NAMES))
    index = ["data", "steps", "metric", "flow", "nfe"]
    return rows[rows["nfe"] > 0].groupby(index)["value"].mean().reset_index()


def draw_quality(found: DataFrame) -> Figure:
    """A panel for each feature and data set."""
    figure = Figure(figsize=(WIDTH, 5.3), dpi=DPI, layout="constrained")
    panels = figure.subplots(len(FEATURES), len(SHOWN), sharex=True)
    styles = {
        flow: look(place) | {"label": name, "capsize": 0} for place, (flow, name) in enumerate(NAMES.items())
    }
    for row, metric in zip(panels, FEATURES, strict=True):
        for axes, (data, steps) in zip(row, SHOWN, strict=True):
            of_flows = select(found, metric=metric, data=data, steps=steps).groupby("flow")
            curves = {
                str(flow): Curve(list(own["nfe"]), list(own["value"]), [0.0] * len(own))
                for flow, own in of_flows
            }
            draw_curves(axes, curves, styles=styles)
        title = f"Fréchet distance{ARROWS['lower']},\n{FEATURE_NAMES[metric]}"
        row[0].set_ylabel(title, fontsize=SMALL)
    for (data, steps), top, bottom in zip(SHOWN, panels[0], panels[-1], strict=True):
        top.set_title(f"{data}, {steps:,} steps", fontsize=SMALL)
        bottom.set_xlabel("evaluations (NFE)", fontsize=SMALL)
    name_below(figure.axes[0])
    return figure


def digest(found: DataFrame) -> str:
    """Return the SHA-256 of the table to four digits, by which a chart is known to show these values."""
    text = found.to_csv(index=False, float_format="%.4g", lineterminator="\n")
    return hashlib.sha256(text.encode()).hexdigest()


def draw(path: Path) -> None:
    """Draw the chart into a file."""
    found = quality()
    save_figure(draw_quality(found), path, {DIGEST: digest(found)})
