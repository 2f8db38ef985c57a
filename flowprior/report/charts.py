"""The charts of the report: each metric against NFE, and against training steps.

A variant's colour says its prior, dashes and marker its coupling, fill its path. Colours are names of the
page's style sheet, which gives each a light and a dark value; they are the hues of Okabe & Ito (2008), told
apart under every common colour blindness. The baseline's prior is the neutral one.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from flowprior.evaluation.result import REAL_DATA
from flowprior.report.quality_figure import draw_quality, means_of, name_ends
from flowprior.report.wording import BETTER, evaluations, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

INK, FAINT, RULE, PAPER = "#010101", "#808080", "#b0b0b0", "#040404"
COLOURS = 6
SERIES = [f"#0a0a{number:02x}" for number in range(COLOURS)]
VARIABLES = {INK: "ink", FAINT: "muted", RULE: "rule", PAPER: "card"} | {
    colour: f"series-{number}" for number, colour in enumerate(SERIES)
}
"""Colours that stand for variables of the page's style sheet."""
PAGE_STYLE: Any = {
    "font.size": 10,
    "axes.labelcolor": FAINT,
    "axes.edgecolor": FAINT,
    "axes.spines.left": False,
    "grid.color": RULE,
    "ytick.major.size": 0,
    **dict.fromkeys(("text.color", "xtick.color", "ytick.color"), INK),
}
"""Figures have the page's colours and no frame."""
SVG = "{http://www.w3.org/2000/svg}"
DROPPED = (f"{SVG}metadata", f"{SVG}style")
DASHES: tuple[tuple[float, ...], ...] = ((4, 2), (), (1.2, 1.6), (6, 2, 1.5, 2), (9, 3))
"""By coupling: the baseline's is dashed where there are others, which are solid, dotted, …"""
MARKERS = "os^DvP"
LONGEST_LABEL = 22
WIDTH, HEIGHT, LINE_HEIGHT = 344, 250, 13.5
"""Of a chart, in points; one of more than eight lines is as much higher for each of them."""


@dataclass(frozen=True)
class Style:
    """Look of one variant.

    Attributes:
        label: of the variant.
        short: what stands at the end of its line: the label, or a letter where the labels are long.
        colour: number of the colour, 0 for the neutral one.
        dash: lengths of dashes and gaps in points; empty for a solid line.
        marker: as matplotlib calls it.
        hollow: whether the marker is drawn as an outline.
    """

    label: str
    short: str
    colour: int
    dash: tuple[float, ...]
    marker: str
    hollow: bool

    def drawn(self) -> dict[str, Any]:
        """What matplotlib takes to draw a line."""
        colour = SERIES[self.colour]
        look = {"linestyle": (0, self.dash) if self.dash else "-", "capsize": 0, "elinewidth": 1.1}
        fill = PAPER if self.hollow else colour
        return {"label": self.short, "color": colour, "marker": self.marker, "markerfacecolor": fill, **look}


def styles(variants: Sequence[dict[str, Any]]) -> dict[str, Style]:
    """The style of each variant of report.json, by its label."""
    baseline = next((variant for variant in variants if variant["baseline"]), variants[0])
    axes = [
        list(dict.fromkeys(variant["labels"][place] for variant in (baseline, *variants)))
        for place in range(3)
    ]
    long = max(len(variant["label"]) for variant in variants) > LONGEST_LABEL
    found = {}
    for turn, variant in enumerate(variants):
        prior, coupling, path = (axis.index(name) for axis, name in zip(axes, variant["labels"], strict=True))
        found[variant["label"]] = Style(
            label=variant["label"],
            short=letter(turn) if long else variant["label"],
            colour=(prior if len(axes[0]) > 1 else coupling) % COLOURS,
            dash=DASHES[coupling % len(DASHES)] if len(axes[1]) > 1 else (),
            marker=MARKERS[coupling % len(MARKERS)],
            hollow=path % 2 == 1,
        )
    return found


def letter(number: int) -> str:
    """A, B, …, Z, A2, B2, …"""
    turn, place = divmod(number, len(ascii_uppercase))
    return ascii_uppercase[place] + (str(turn + 1) if turn else "")


def quality_charts(
    summary: Mapping[str, Any], table: DataFrame, looks: Mapping[str, Style]
) -> list[dict[str, Any]]:
    """One group of charts for each sampler, one chart for each metric: values against NFE."""
    groups = []
    for place, sampler in enumerate(summary["samplers"]):
        frame: Any = table[(table["sampler"] == sampler) & table["step"].isna()]
        doubling = not (frame["grid"] == "adaptive").any()
        charts = [
            line_chart(
                frame,
                metric,
                looks,
                name=f"quality-{place}-{number}",
                about=about,
                text=about["description"],
                level=about["real_data_score"],
                doubling=doubling,
            )
            for number, (metric, about) in enumerate(summary["metrics"].items())
            if about["better"] and (frame["metric"] == metric).any()
        ]
        groups += [{"sampler": sampler, "charts": charts}] if charts else []
    return groups


def convergence_charts(
    summary: Mapping[str, Any], table: DataFrame, looks: Mapping[str, Style]
) -> list[dict[str, Any]]:
    """One chart for each metric and NFE of the curve: values against training steps."""
    steps: Any = table[table["step"].notna()]
    return [
        line_chart(
            steps[steps["nfe"] == goal["nfe"]],
            goal["metric"],
            looks,
            name=f"convergence-{place}",
            about=summary["metrics"][goal["metric"]],
            text=f"with {evaluations(goal['nfe'], False)}",
            level=goal["target"],
            level_name="baseline's end",
            x="step",
        )
        for place, goal in enumerate(summary["convergence"])
    ]


def line_chart(
    frame: DataFrame,
    metric: str,
    looks: Mapping[str, Style],
    *,
    name: str,
    about: Mapping[str, Any],
    text: str,
    level: float | None = None,
    level_name: str = REAL_DATA,
    x: str = "nfe",
    doubling: bool = False,
) -> dict[str, Any]:
    """A metric's name, better side and text, with lines of one variant each as an ``<svg>`` element.

    Args:
        frame: rows of the long table.
        metric: its name.
        looks: variant -> how it is drawn.
        name: unique in the page.
        about: what the metric is.
        text: what stands below its name.
        level: drawn as a dotted line.
        level_name: what stands at its end.
        x: column along the bottom.
        doubling: whether it is spaced by powers of two.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    height = HEIGHT + LINE_HEIGHT * max(0, frame["flow"].nunique() - 8)
    options: dict[str, Any] = {
        "real_data_score": level,
        "level_name": level_name,
        "x": x,
        "doubling": doubling,
    }
    options["styles"] = {label: look.drawn() for label, look in looks.items()}
    with rc_context(PAGE_STYLE):
        figure = Figure(figsize=(WIDTH / 72, height / 72), layout="constrained")
        axes = figure.subplots()
        draw_quality(axes, frame, metric, group="flow", **options)
        name_ends(axes)
    axis = {"nfe": "evaluations", "step": "training steps"}[x]
    svg = inline_svg(figure, name, f"{metric} against {axis}: {_ends(frame, metric, x)}")
    return {"metric": metric, "better": BETTER[about["better"]], "about": text, "svg": svg}


def _ends(frame: DataFrame, metric: str, x: str) -> str:
    """Where each line begins and ends, in words."""
    found = []
    for label, line in means_of(frame, metric, ["flow"], x).groupby("flow", sort=False):
        ends = [f"{number(end['mean'])} at {number(end['place'])}" for end in (line.iloc[0], line.iloc[-1])]
        found.append(f"{label} from {' to '.join(ends)}")
    return "; ".join(found)


def inline_svg(figure: Figure, name: str, description: str) -> str:
    """The figure as an ``<svg>`` element that scales with its container.

    Args:
        figure: drawn in the colours of :data:`VARIABLES`.
        name: makes the element's ids unique in the page.
        description: for those who cannot see it.
    """
    from matplotlib import rc_context

    buffer = io.BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    root = ElementTree.fromstring(buffer.getvalue())
    for element in root.iter():
        for child in [child for child in element if child.tag in DROPPED]:
            element.remove(child)
        element.tag = element.tag.removeprefix(SVG)
        element.attrib = {
            key.rpartition("}")[2]: _in_page(key, value, name) for key, value in element.items()
        }
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": description}
    return ElementTree.tostring(root, encoding="unicode").strip()


def _in_page(key: str, value: str, name: str) -> str:
    """The value of an attribute with the page's ids, font and colours."""
    if key == "id":
        return f"{name}-{value}"
    if key.endswith("href"):
        return value.replace("#", f"#{name}-", 1)
    value = value.replace("url(#", f"url(#{name}-")
    if key == "style":
        value = "; ".join(_with_font(part.strip()) for part in value.split(";"))
    for colour, variable in VARIABLES.items():
        value = value.replace(colour, f"var(--{variable})")
    return value


def _with_font(declaration: str) -> str:
    """A CSS declaration with the page's font in place of matplotlib's, which writes it in either way."""
    if declaration.startswith("font-family:"):
        return "font-family: var(--font)"
    short = declaration.startswith("font:")
    return declaration[: declaration.index("px") + 2] + " var(--font)" if short else declaration
