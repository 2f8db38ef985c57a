"""Quality against the number of evaluations: a panel a metric, a curve a sampler, bars of one deviation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowprior.errors import OptionError
from flowprior.evaluation.result import REAL_DATA, Result
from flowprior.pictures import SUFFIXES, save_figure
from flowprior.pictures.quality import Curve, draw_curves, evaluations_label, named_lines, short_names
from flowprior.report.terminal import lines_of, title_of
from flowprior.report.wording import ARROWS
from flowprior.study.statistics import grouped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = 3
"""Of an evaluation's figure, beside each other."""
PANEL_SIZE = (4.2, 3.2)
"""Width and height in inches."""
LETTERS_AN_INCH, SAMPLE_LETTERS, MOST_COLUMNS = 13, 6, 4
"""Of a legend: letters that go into an inch, those that a line's sample takes, and columns at most."""
PLAIN_TEXT: Any = {"text.parse_math": False}
"""A dollar sign in a name is no formula."""


def save_plot(result: Result, path: Path | str) -> None:
    """Draw every metric of ``result`` against the number of evaluations into a picture.

    Raises:
        OptionError: a suffix that no picture has.
        CheckpointError: the file cannot be written.
    """
    check_suffix(path)
    save_figure(evaluation_figure(result), path)


def check_suffix(path: Path | str) -> None:
    """Refuse what a plot cannot be written to, before anything is computed.

    Raises:
        OptionError: another suffix.
    """
    if Path(path).suffix.lower() not in SUFFIXES:
        raise OptionError(f"plot: cannot write '{path}'; choose a name that ends in {', '.join(SUFFIXES)}")


def evaluation_figure(result: Result) -> Figure:
    """Every metric of ``result``; bars are deviations over seeds, a dotted line is the real-data score.

    Raises:
        OptionError: none of the metrics depends on the number of evaluations.
    """
    metrics, settings = result.quality_metrics, result.settings
    if not metrics:
        raise OptionError("plot: none of the metrics depends on NFE; choose others (--metrics)")
    lines = sorted(lines_of(result), key=lambda line: line.nfe)
    several = len({line.guidance for line in lines}) > 1
    groups = grouped(lines, lambda line: f"{line.sampler}, {line.guidance}" if several else line.sampler)
    bars = f", bars: deviation over {n} seeds" if (n := len(settings["seeds"])) > 1 else ""
    terms = f"{settings['samples']} samples against {settings['reference']}{bars}"

    def draw(axes: Axes, name: str) -> None:
        curves = {}
        for group, own in groups.items():
            found = [(line.nfe, line.values[name]) for line in own if name in line.values]
            values = ((nfe, value.mean, value.std or 0.0) for nfe, value in found)
            curves[group] = Curve(*zip(*values, strict=True))
        draw_curves(axes, curves, better=metrics[name].better, level=result.real_data_score(name))
        axes.set_xlabel(evaluations_label(any(line.nfe == 0 for line in lines)))

    better = {name: info.better for name, info in metrics.items()}
    return metric_panels(better, draw, f"{title_of(result)}\n{terms}")


def metric_panels(better: Mapping[str, str], draw: Callable[[Axes, str], None], title: str) -> Figure:
    """A figure with a panel for each metric, one legend and a title.

    Args:
        better: metric -> ``"lower"``, ``"higher"`` or ``""``.
        draw: draws the curves of a metric into axes.
        title: of the figure.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    columns = 2 if len(better) == 4 else min(PANELS, len(better))
    rows = math.ceil(len(better) / columns)
    size = (PANEL_SIZE[0] * columns, PANEL_SIZE[1] * rows + 0.9)
    with rc_context(PLAIN_TEXT):
        figure = Figure(figsize=size, dpi=150, layout="constrained")
        for number, (name, side) in enumerate(better.items(), 1):
            axes = figure.add_subplot(rows, columns, number)
            draw(axes, name)
            axes.set_title(name + ARROWS[side], fontsize=10)
        _legend(figure)
        figure.suptitle(title, fontsize=10)
    return figure


def _legend(figure: Figure) -> None:
    """One legend below all panels, in as many columns as there is room for; the real-data score is last."""
    lines = {name: line for axes in figure.axes for name, line in named_lines(axes).items()}
    labels = sorted(lines, key=lambda label: label == REAL_DATA)
    names = list(short_names(labels).values())
    room = LETTERS_AN_INCH * figure.get_figwidth() / (max(map(len, names)) + SAMPLE_LETTERS)
    columns = min(len(names), MOST_COLUMNS, max(1, int(room)))
    handles = [lines[label] for label in labels]
    figure.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False)
