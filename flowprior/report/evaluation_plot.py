"""An evaluation as a picture: one panel a metric, one curve a sampler and guidance."""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from flowprior.errors import OptionError
from flowprior.evaluation.result import REAL_DATA, Result
from flowprior.report.evaluation_table import ARROWS, title_of
from flowprior.report.quality_figure import draw_quality, plain_text
from flowprior.storage import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")
COLUMNS = 3
WIDTH, HEIGHT = 4.2, 3.2


def save_plot(result: Result, path: Path | str) -> None:
    """Draw every metric of ``result`` against the number of evaluations into a picture.

    Raises:
        OptionError: matplotlib or pandas is not installed, or another suffix than .png, .svg or .pdf.
        CheckpointError: the file cannot be written.
    """
    path = Path(path)
    check_suffix(path)
    figure = evaluation_figure(result)
    with replacing(path, keep_suffix=True) as temporary:
        figure.savefig(temporary, dpi=150)


def check_suffix(path: Path | str) -> None:
    """Refuse what a plot cannot be written to, before anything is computed.

    Raises:
        OptionError: another suffix, or matplotlib or pandas is not installed.
    """
    if Path(path).suffix.lower() not in SUFFIXES:
        raise OptionError(f"plot: cannot write '{path}'; choose a name that ends in {', '.join(SUFFIXES)}")
    for package in ("matplotlib", "pandas"):
        if find_spec(package) is None:
            raise OptionError(f"plot: {package} is not installed; pip install 'flowprior[plot]'")


def evaluation_figure(result: Result) -> Figure:
    """Every metric of ``result``; bars are deviations over seeds, a dotted line is the real-data score.

    Raises:
        OptionError: none of the metrics depends on the number of evaluations.
    """
    from matplotlib.figure import Figure

    metrics = result.quality_metrics
    if not metrics:
        raise OptionError("plot: none of the metrics depends on NFE; choose others (--metrics)")
    columns = 2 if len(metrics) == 4 else min(COLUMNS, len(metrics))
    rows = math.ceil(len(metrics) / columns)
    figure = Figure(figsize=(WIDTH * columns, HEIGHT * rows + 0.9), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flatten())
    frame = result.frame()
    group = ["sampler"] if frame["guidance"].nunique() < 2 else ["sampler", "guidance"]
    for axes, (name, info) in zip(panels, metrics.items(), strict=False):
        draw_quality(axes, frame, name, group=group, real_data_score=result.real_data_score(name))
        axes.set_title(name + ARROWS.get(info.better, ""), fontsize=10, parse_math=False)
    for axes in panels[len(metrics) :]:
        axes.set_axis_off()
    _legend(figure)
    settings, seeds = result.settings, frame["seed"].nunique()
    bars = f", bars: deviation over {seeds} seeds" if seeds > 1 else ""
    terms = f"{settings['samples']} samples against {settings['reference']}{bars}"
    figure.suptitle(f"{title_of(result)}\n{terms}", fontsize=10, parse_math=False)
    return figure


def _legend(figure: Figure) -> None:
    """One legend below all panels, the real-data score last."""
    pairs = [pair for axes in figure.axes for pair in zip(*axes.get_legend_handles_labels(), strict=True)]
    entries = {label: handle for handle, label in pairs}
    labels = sorted(entries, key=lambda label: label == REAL_DATA)
    columns = min(len(labels), 4)
    handles = [entries[label] for label in labels]
    legend = figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
    plain_text(legend.get_texts())
