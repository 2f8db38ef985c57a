"""Quality against the number of evaluations or training steps: one curve a group, bars of one deviation.

One metric of any long table is a figure; an evaluation is one with a panel for each of its metrics.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowprior.errors import OptionError, pip_install
from flowprior.evaluation.result import ADAPTIVE, REAL_DATA, Result
from flowprior.pictures import SUFFIXES, save_figure
from flowprior.pictures.curves import Curve, draw_curves, named_lines
from flowprior.pictures.looks import short_names
from flowprior.pictures.quality import evaluations_label
from flowprior.report.terminal import title_of
from flowprior.report.wording import ARROWS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

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
        OptionError: pandas is not installed, or a suffix that no picture has.
        CheckpointError: the file cannot be written.
    """
    check_suffix(path)
    save_figure(evaluation_figure(result), path)


def check_suffix(path: Path | str) -> None:
    """Refuse what a plot cannot be written to, before anything is computed.

    Raises:
        OptionError: another suffix, or pandas is not installed.
    """
    if Path(path).suffix.lower() not in SUFFIXES:
        raise OptionError(f"plot: cannot write '{path}'; choose a name that ends in {', '.join(SUFFIXES)}")
    if find_spec("pandas") is None:
        raise OptionError(f"plot: pandas is not installed; {pip_install('plot')}")


def evaluation_figure(result: Result) -> Figure:
    """Every metric of ``result``; bars are deviations over seeds, a dotted line is the real-data score.

    Raises:
        OptionError: none of the metrics depends on the number of evaluations.
    """
    metrics, settings, frame = result.quality_metrics, result.settings, result.to_pandas()
    if not metrics:
        raise OptionError("plot: none of the metrics depends on NFE; choose others (--metrics)")
    group = ["sampler"] if frame["guidance"].nunique() < 2 else ["sampler", "guidance"]
    bars = f", bars: deviation over {n} seeds" if (n := frame["seed"].nunique()) > 1 else ""
    terms = f"{settings['samples']} samples against {settings['reference']}{bars}"

    def draw(axes: Axes, name: str) -> None:
        options = {"better": metrics[name].better, "level": result.real_data_score(name)}
        draw_quality(axes, frame, name, group=group, **options)

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


def draw_quality(
    axes: Axes,
    frame: DataFrame,
    metric: str,
    *,
    group: Sequence[str],
    x: str = "nfe",
    **options: Any,
) -> None:
    """Draw one metric of a long table as curves, without their names.

    Args:
        axes: what to draw into.
        frame: rows of the long table, see :meth:`flowprior.evaluation.Result.to_pandas`; those of real data
            and of other metrics are passed over.
        metric: its name.
        group: the columns that tell curves apart; everything else is averaged over. A curve's name is their
            values with commas between.
        x: the column along the bottom, ``"nfe"`` or ``"step"``.
        options: of :func:`flowprior.pictures.curves.draw_curves`.
    """
    means = means_of(frame, metric, group, x)
    groups: Any = means.fillna({"std": 0.0}).groupby(list(group), sort=False)
    curves = {
        ", ".join(map(str, key)): Curve(*(curve[name].tolist() for name in ("place", "mean", "std")))
        for key, curve in groups
    }
    draw_curves(axes, curves, **options)
    labels = {"nfe": evaluations_label(bool((means["place"] == 0).any())), "step": "training steps"}
    axes.set_xlabel(labels[x])


def means_of(frame: DataFrame, metric: str, keys: Sequence[str], x: str = "nfe") -> DataFrame:
    """Columns ``keys``, ``place``, ``mean``, ``std`` of one metric, ascending in place.

    What an adaptive sampler spent differs from seed to seed; its values are one place, at the mean.
    """
    rows: Any = frame[(frame["metric"] == metric) & frame[x].notna() & (frame["flow"] != REAL_DATA)]
    chosen = (rows["grid"] == ADAPTIVE) & (rows["nfe"] > 0) & (x == "nfe")
    rows = rows.assign(place=rows[x].astype(float), asked=rows[x].astype(float).mask(chosen, float("inf")))
    groups = rows.groupby([*keys, "asked"], sort=False, dropna=False)
    means = groups.agg(place=("place", "mean"), mean=("value", "mean"), std=("value", "std")).reset_index()
    return means.sort_values("place", kind="stable")
