"""Line charts of the report: figures against NFE or training steps, labelled at the end of each line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowprior.report.quality_figure import set_doubling_scale
from flowprior.report.styles import Style
from flowprior.report.svg import FAINT, INK, PAPER, RULE, inline_svg, new_figure, series_colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 344
TEXT = 10.0
LINE_HEIGHT = 13.5
LETTER_WIDTH = 5.2
WIDE_RANGE = 4
MANY_TICKS = 500


@dataclass(frozen=True)
class Line:
    """One variant's figures.

    Attributes:
        style: colour, dashes, marker.
        x: NFE or steps, ascending.
        y: means over seeds.
        std: their deviations; None for a single seed.
    """

    style: Style
    x: Sequence[float]
    y: Sequence[float]
    std: Sequence[float | None]


@dataclass(frozen=True)
class Level:
    """A horizontal line to measure the others by."""

    value: float
    label: str


def line_chart(
    lines: Sequence[Line],
    *,
    name: str,
    description: str,
    x_label: str,
    doubling: bool,
    level: Level | None = None,
) -> str:
    """Lines with error bars of one deviation, as an ``<svg>`` element.

    Args:
        lines: at least one.
        name: unique in the page.
        description: for those who cannot see it.
        x_label: what stands below.
        doubling: whether x is spaced by powers of two; 0 stands one doubling before the first of the others.
        level: drawn dotted.
    """
    height = 250 + LINE_HEIGHT * max(0, len(lines) - 8)
    figure = new_figure(WIDTH, height)
    margin = LETTER_WIDTH * max(len(line.style.short) for line in lines) + 14
    box = (34 / WIDTH, 40 / height, (WIDTH - 34 - margin) / WIDTH, (height - 52) / height)
    axes = figure.add_axes(box)
    _set_scales(axes, lines, level, doubling)
    for number, line in enumerate(lines):
        _draw(axes, line, _nudged(line.x, number / len(lines) - 0.5, _places(lines)) if doubling else line.x)
    if level is not None:
        _draw_level(axes, level, below=level.value <= min(value for line in lines for value in line.y))
    _dress(axes, x_label)
    figure.draw_without_rendering()
    _label_ends(axes, lines)
    return inline_svg(figure, name, description)


def _set_scales(axes: Axes, lines: Sequence[Line], level: Level | None, doubling: bool) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    places = _places(lines)
    values = [value for line in lines for value in line.y] + ([level.value] if level else [])
    if doubling:
        set_doubling_scale(axes, places)
        least = min((place for place in places if place), default=1)
        axes.set_xlim(-0.25 * least if places[0] == 0 else places[0] / 1.25, (places[-1] or 1) * 1.12)
        axes.set_xticks(places, [f"{place:.3g}" for place in places])
    else:
        axes.set_xlim(-0.02 * places[-1] if places[0] == 0 else 0, (places[-1] or 1) * 1.05)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if min(values) > 0 and max(values) / min(values) > WIDE_RANGE:
        axes.set_yscale("log")
        fine = max(values) / min(values) < MANY_TICKS
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if fine else (1,), numticks=12))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(lambda value, _: _tick(value))
    axes.minorticks_off()


def _tick(value: float) -> str:
    return f"{value / 1000:g}k" if abs(value) >= 10_000 else f"{value:.4g}"


def _places(lines: Sequence[Line]) -> list[float]:
    """Every x that a line has a point at, ascending."""
    return sorted({place for line in lines for place in line.x})


def _nudged(x: Sequence[float], shift: float, places: Sequence[float]) -> list[float]:
    """x moved by a share of a doubling, so that bars of different lines stand beside each other."""
    least = min((place for place in places if place), default=1)
    return [place * 2 ** (0.14 * shift) if place else 0.14 * shift * least for place in x]


def _draw(axes: Axes, line: Line, x: Sequence[float]) -> None:
    colour = series_colour(line.style.colour)
    bars = [0.0 if std is None else std for std in line.std]
    axes.errorbar(x, line.y, yerr=bars, fmt="none", ecolor=colour, elinewidth=1.1, alpha=0.65)
    axes.plot(
        x,
        line.y,
        color=colour,
        linewidth=1.7,
        dashes=line.style.dash or (None, None),
        marker=line.style.marker,
        markersize=4.5,
        markerfacecolor=PAPER if line.style.hollow else colour,
        markeredgecolor=colour,
    )


def _draw_level(axes: Axes, level: Level, below: bool) -> None:
    """A dotted line; its name stands on the side where the other lines are not, and has room there."""
    axes.axhline(level.value, color=FAINT, linewidth=1, dashes=(1, 2), zorder=1)
    axes.margins(y=0.1)
    axes.annotate(
        level.label,
        (0, level.value),
        xycoords=("axes fraction", "data"),
        xytext=(3, -3 if below else 3),
        textcoords="offset points",
        va="top" if below else "bottom",
        color=FAINT,
        fontsize=TEXT - 1,
    )


def _dress(axes: Axes, x_label: str) -> None:
    """Quiet rules, no frame but the axis below."""
    axes.grid(axis="y", color=RULE, linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=TEXT - 0.5, length=0, pad=4)
    axes.tick_params(axis="x", length=3, color=FAINT)
    axes.set_xlabel(x_label, color=FAINT, fontsize=TEXT, labelpad=5)


def _label_ends(axes: Axes, lines: Sequence[Line]) -> None:
    """Each line's name at its right end, moved apart where they would overlap."""
    figure = axes.figure
    scale = 72 / figure.dpi
    ends = [axes.transData.transform((line.x[-1], line.y[-1]))[1] * scale for line in lines]
    box = axes.get_window_extent()
    low, high = box.y0 * scale, box.y1 * scale
    for line, place in zip(lines, spread_out(ends, LINE_HEIGHT, low, high), strict=True):
        axes.annotate(
            line.style.short,
            (1, (place - low) / (high - low)),
            xycoords="axes fraction",
            xytext=(7, 0),
            textcoords="offset points",
            va="center_baseline",
            color=series_colour(line.style.colour),
            fontsize=TEXT,
            annotation_clip=False,
            parse_math=False,  # A dollar sign in a label is no formula.
        )


def spread_out(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """``places`` moved as little as a sweep up and one down can, to lie ``gap`` apart within the range.

    Where the range is too small for all of them they run out at its lower end.
    """
    order = sorted(range(len(places)), key=lambda number: places[number])
    moved = list(places)
    for before, number in zip([None, *order], order, strict=False):
        moved[number] = max(moved[number], low if before is None else moved[before] + gap)
    for after, number in zip([None, *reversed(order)], reversed(order), strict=False):
        moved[number] = min(moved[number], high if after is None else moved[after] - gap)
    return moved
