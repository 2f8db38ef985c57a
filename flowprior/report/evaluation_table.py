"""An evaluation as a table for people: means and deviations, real-data scores, and how they were measured.

Made of plain rows, so that ``flowprior evaluate`` needs no extra.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from flowprior.evaluation.result import ADAPTIVE, SECONDS, Result, worse_than_prior
from flowprior.metrics.base import MetricInfo

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

ARROWS = {"lower": " ↓", "higher": " ↑"}
MOST_COLUMNS = 6
"""More metrics than these become rows."""
Infos = dict[str, MetricInfo]
Texts = dict[str, str]


class Spread(NamedTuple):
    """Mean and standard deviation (unbiased) of a value over seeds; no deviation of a single one."""

    mean: float
    std: float | None = None

    def __str__(self) -> str:
        return f"{self.mean:.4g}" + ("" if self.std is None else f" ± {self.std:.2g}")


@dataclass(frozen=True)
class Line:
    """Values of one sampler and guidance at one number of evaluations.

    Attributes:
        sampler: as it was asked for.
        guidance: strength of classifier-free guidance.
        nfe: evaluations spent; their mean where an adaptive sampler spent more on one seed.
        values: by metric.
    """

    sampler: str
    guidance: float
    nfe: float
    values: dict[str, Spread]

    def shown(self, metric: str) -> str:
        """``12.34``, or ``12.34 ± 0.56`` over seeds; empty where there is no value."""
        return str(self.values.get(metric, ""))


Groups = dict[tuple[str, float], list[Line]]
"""The lines of each sampler and guidance."""


def lines_of(result: Result) -> list[Line]:
    """Means over seeds, one line for each sampler, guidance and number of evaluations; of the first split."""
    first = next((row["split"] for row in result.rows if row["split"]), None)
    groups: dict[tuple[Any, ...], dict[str, list[dict[str, Any]]]] = {}
    for row in result.rows:
        if row["nfe"] is not None and row["split"] in (None, first):
            # beside the prior's, an adaptive sampler has a single line, whatever it spent on each seed
            count = None if row["grid"] == ADAPTIVE and row["nfe"] else row["nfe"]
            group = groups.setdefault((row["sampler"], row["guidance"], count), {})
            group.setdefault(row["metric"], []).append(row)
    return [
        Line(
            sampler,
            guidance,
            spread(row["nfe"] for row in next(iter(group.values()))).mean,
            {metric: spread(row["value"] for row in rows) for metric, rows in group.items()},
        )
        for (sampler, guidance, _), group in groups.items()
    ]


def spread(values: Iterable[float]) -> Spread:
    """Mean and deviation of values of different seeds."""
    values = list(values)
    return Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


def result_table(result: Result) -> Table:
    """Values by sampler, guidance and NFE; an arrow points to each metric's better side, real data come last.

    A few metrics are columns; more of them are rows, so that the table keeps to the width of a page.
    """
    from rich.table import Table
    from rich.text import Text

    lines = lines_of(result)
    keys = [name for name in ("sampler", "guidance") if len({getattr(line, name) for line in lines}) > 1]
    title, caption = Text(title_of(result), "table.title"), Text(_caption(result), "table.caption")
    table = Table(title=title, caption=caption, caption_justify="left")
    for key in keys:
        table.add_column(key, justify="left" if key == "sampler" else "right", no_wrap=True)
    metrics = result.quality_metrics
    scores = {name: result.real_data_score(name) for name in metrics}
    real = {name: "" if score is None else str(Spread(score)) for name, score in scores.items()}
    fill = _as_columns if len(metrics) <= MOST_COLUMNS else _as_rows
    fill(table, metrics, real, _groups(lines), keys)
    return table


def title_of(result: Result) -> str:
    """Parts of the flow, its data, the samplers."""
    settings = result.settings
    samplers = ", ".join(settings["samplers"])
    return f"{settings['prior']} + {settings['coupling']} on {settings['data']}, {samplers}"


def prior_sentences(result: Result) -> list[str]:
    """Where the flow is worse than its prior alone: one sentence for each sampler and guidance."""
    lines, found = lines_of(result), []
    samplers, guidances = ({getattr(line, key) for line in lines} for key in ("sampler", "guidance"))
    for (sampler, guidance), group in _groups(lines).items():
        places = []
        for name, info in result.quality_metrics.items():
            by_nfe = {line.nfe: line.values[name].mean for line in group if name in line.values}
            if counts := worse_than_prior(by_nfe, info.better):
                places.append(f"{name} at NFE {comma_list([f'{count:g}' for count in counts])}")
        terms = [sampler] * (len(samplers) > 1) + [f"guidance {guidance:g}"] * (len(guidances) > 1)
        start = f"With {', '.join(terms)} the" if terms else "The"
        if places:
            found.append(f"{start} flow is worse than its prior alone (NFE 0) in {'; in '.join(places)}.")
    return found


def comma_list(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _as_columns(table: Table, metrics: Infos, real: Texts, groups: Groups, keys: list[str]) -> None:
    table.add_column("NFE", justify="right", no_wrap=True)
    for name, info in metrics.items():
        table.add_column(_heading(name, info), justify="right", overflow="fold")
    table.add_column(SECONDS, justify="right")
    for group in groups.values():
        table.add_section()
        for line in group:
            values = [line.shown(name) for name in metrics]
            table.add_row(*_setting(line, keys), f"{line.nfe:g}", *values, _seconds(line))
    if any(real.values()):
        table.add_section()
        table.add_row(*("" for _ in keys), "real", *real.values(), "", style="dim")


def _as_rows(table: Table, metrics: Infos, real: Texts, groups: Groups, keys: list[str]) -> None:
    counts = sorted({line.nfe for group in groups.values() for line in group})
    table.add_column("metric", no_wrap=True)
    for count in counts:
        table.add_column(f"NFE {count:g}", justify="right", overflow="fold")
    table.add_column("real", justify="right", style="dim", overflow="fold")
    for group in groups.values():
        table.add_section()
        at = {line.nfe: line for line in group}
        names: list[Text | str] = _setting(group[0], keys)
        for name, info in metrics.items():
            values = [at[count].shown(name) if count in at else "" for count in counts]
            table.add_row(*names, _heading(name, info), *values, real[name])
            names = ["" for _ in keys]
        seconds = [_seconds(at[count]) if count in at else "" for count in counts]
        table.add_row(*names, SECONDS, *seconds, "")


def _groups(lines: list[Line]) -> Groups:
    found: Groups = {}
    for line in lines:
        found.setdefault((line.sampler, line.guidance), []).append(line)
    return found


def _heading(name: str, info: MetricInfo) -> Text:
    """A metric's name and the arrow to its better side; text, so that no name is read as markup."""
    from rich.text import Text

    return Text(name + ARROWS.get(info.better, ""))


def _setting(line: Line, keys: list[str]) -> list[Text | str]:
    from rich.text import Text

    values = [getattr(line, key) for key in keys]
    return [Text(value) if isinstance(value, str) else f"{value:g}" for value in values]


def _seconds(line: Line) -> str:
    return f"{line.values[SECONDS].mean:.4g}" if SECONDS in line.values else ""


def _caption(result: Result) -> str:
    """How the values were measured, values of the flow itself, and what is to be known of them."""
    parts = [_terms(result), *_other_terms(result), *_transport_lines(result), *_flow_lines(result)]
    return "\n".join([*parts, *prior_sentences(result), *result.notes])


def _terms(result: Result) -> str:
    """Sample count, reference, guidance and seeds of most values."""
    settings = result.settings
    guidance = ", ".join(f"{value:g}" for value in settings["guidances"])
    seeds = ", ".join(map(str, settings["seeds"]))
    several = "mean ± standard deviation over seeds" if len(settings["seeds"]) > 1 else "seed"
    terms = f"{settings['samples']} samples against {settings['reference']}"
    return f"{terms}, guidance {guidance}, {several} {seeds}"


def _other_terms(result: Result) -> list[str]:
    """Metrics of other counts or references than most: one line for each pair of these."""
    settings = result.settings
    groups: dict[str, list[str]] = {}
    for name, info in result.quality_metrics.items():
        if (info.samples, info.reference) != (settings["samples"], settings["reference"]):
            against = f" against {info.reference}" if info.reference else ""
            groups.setdefault(f"{info.samples} samples{against}", []).append(name)
    return [f"{', '.join(names)}: {terms}" for terms, names in groups.items()]


def _transport_lines(result: Result) -> list[str]:
    rows = [result.select(metric=name) for name in ("transport_cost", "transport_cost_unpaired")]
    costs = [spread(row["value"] for row in part).mean for part in rows if part]
    return [f"transport cost {costs[0]:.4g} coupled, {costs[1]:.4g} unpaired"] if len(costs) == 2 else []


def _flow_lines(result: Result) -> list[str]:
    """Values of the flow itself, one line a guidance."""
    found: dict[float, dict[str, list[float]]] = {}
    for row in result.select(sampler=None):
        if row["guidance"] is not None:
            found.setdefault(row["guidance"], {}).setdefault(row["metric"], []).append(row["value"])
    return [
        ", ".join(f"{name} {spread(values)}" for name, values in group.items())
        + (f" at guidance {guidance:g}" if len(found) > 1 else "")
        for guidance, group in found.items()
    ]
