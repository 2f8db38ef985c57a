"""An evaluation as a table for people: means and deviations, real-data scores, and how they were measured.

Made of plain rows, so that ``flowprior evaluate`` needs no extra.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from flowprior.evaluation.result import ADAPTIVE, SECONDS, Result, worse_than_prior
from flowprior.metrics.base import MetricInfo
from flowprior.report.wording import ARROWS, comma_list
from flowprior.study.statistics import Spread, spread

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

MOST_COLUMNS = 6
"""More metrics than these become rows."""
Item = TypeVar("Item")


class Line(NamedTuple):
    """Values of one sampler and guidance at one number of evaluations.

    Attributes:
        sampler: as it was asked for.
        guidance: strength of classifier-free guidance.
        nfe: evaluations spent; their mean where an adaptive sampler spent more on one seed.
        values: by metric, over seeds.
    """

    sampler: str
    guidance: float
    nfe: float
    values: dict[str, Spread]

    def shown(self, metric: str) -> str:
        """``12.34``, or ``12.34 ± 0.56`` over seeds; empty where there is no value."""
        return _as_text(self.values[metric]) if metric in self.values else ""

    @property
    def seconds(self) -> str:
        """Of generating the samples, mean over seeds."""
        return f"{self.values[SECONDS].mean:.4g}" if SECONDS in self.values else ""


def lines_of(result: Result) -> list[Line]:
    """Means over seeds, one line for each sampler, guidance and number of evaluations; of the first split."""
    first = next((row["split"] for row in result.rows if row["split"]), None)
    rows = [row for row in result.rows if row["nfe"] is not None and row["split"] in (None, first)]
    found = []
    for (sampler, guidance, _), own in _grouped(rows, _line_of).items():
        values = _spreads(own)
        nfe = spread([row["nfe"] for row in own if row["metric"] == own[0]["metric"]]).mean
        found.append(Line(sampler, guidance, nfe, values))
    return found


def _line_of(row: dict[str, Any]) -> tuple[Any, ...]:
    """Beside the prior's, an adaptive sampler has a single line, whatever it spent on each seed."""
    return row["sampler"], row["guidance"], None if row["grid"] == ADAPTIVE and row["nfe"] else row["nfe"]


def result_table(result: Result) -> Table:
    """Values by sampler, guidance and NFE; an arrow points to each metric's better side, real data come last.

    A few metrics are columns; more of them are rows, so that the table keeps to the width of a page.
    """
    from rich.table import Table
    from rich.text import Text

    lines, metrics = lines_of(result), result.quality_metrics
    keys = [name for name in ("sampler", "guidance") if len({getattr(line, name) for line in lines}) > 1]
    title, caption = Text(title_of(result), "table.title"), Text(_caption(result, lines), "table.caption")
    table = Table(title=title, caption=caption, caption_justify="left")
    for key in keys:
        table.add_column(key, justify="left" if key == "sampler" else "right", no_wrap=True)
    scores = {name: result.real_data_score(name) for name in metrics}
    real = {name: "" if score is None else f"{score:.4g}" for name, score in scores.items()}
    fill = _as_columns if len(metrics) <= MOST_COLUMNS else _as_rows
    fill(table, metrics, real, list(_grouped(lines, _setting_of).values()), keys)
    return table


def title_of(result: Result) -> str:
    """Parts of the flow, its data, the samplers."""
    settings = result.settings
    samplers = ", ".join(settings["samplers"])
    return f"{settings['prior']} + {settings['coupling']} on {settings['data']}, {samplers}"


def _as_columns(
    table: Table,
    metrics: dict[str, MetricInfo],
    real: dict[str, str],
    groups: list[list[Line]],
    keys: list[str],
) -> None:
    table.add_column("NFE", justify="right", no_wrap=True)
    for name, info in metrics.items():
        table.add_column(_heading(name, info), justify="right", overflow="fold")
    table.add_column(SECONDS, justify="right")
    for group in groups:
        table.add_section()
        for line in group:
            values = [line.shown(name) for name in metrics]
            table.add_row(*_setting(line, keys), f"{line.nfe:g}", *values, line.seconds)
    if any(real.values()):
        table.add_section()
        table.add_row(*("" for _ in keys), "real", *real.values(), "", style="dim")


def _as_rows(
    table: Table,
    metrics: dict[str, MetricInfo],
    real: dict[str, str],
    groups: list[list[Line]],
    keys: list[str],
) -> None:
    counts = sorted({line.nfe for group in groups for line in group})
    table.add_column("metric", no_wrap=True)
    for count in counts:
        table.add_column(f"NFE {count:g}", justify="right", overflow="fold")
    table.add_column("real", justify="right", style="dim", overflow="fold")
    for group in groups:
        table.add_section()
        at = {line.nfe: line for line in group}
        lines = [at.get(count, Line("", 1, count, {})) for count in counts]
        names = _setting(group[0], keys)
        for name, info in metrics.items():
            table.add_row(*names, _heading(name, info), *(line.shown(name) for line in lines), real[name])
            names = ["" for _ in keys]
        table.add_row(*names, SECONDS, *(line.seconds for line in lines), "")


def _heading(name: str, info: MetricInfo) -> Text:
    """A metric's name and the arrow to its better side; text, so that no name is read as markup."""
    from rich.text import Text

    return Text(name + ARROWS.get(info.better, ""))


def _setting(line: Line, keys: list[str]) -> list[Text | str]:
    from rich.text import Text

    values = [getattr(line, key) for key in keys]
    return [Text(value) if isinstance(value, str) else f"{value:g}" for value in values]


def _setting_of(line: Line) -> tuple[str, float]:
    return line.sampler, line.guidance


def _caption(result: Result, lines: list[Line]) -> str:
    """How the values were measured, values of the flow itself, and what is to be known of them."""
    parts = [_terms(result), *_other_terms(result), *_transport_lines(result), *_flow_lines(result)]
    return "\n".join([*parts, *_prior_sentences(result, lines), *result.notes])


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
    most = (result.settings["samples"], result.settings["reference"])
    infos = result.quality_metrics
    found = _grouped(infos, lambda name: (infos[name].samples, infos[name].reference))
    return [
        f"{', '.join(names)}: {samples} samples" + (f" against {reference}" if reference else "")
        for (samples, reference), names in found.items()
        if (samples, reference) != most
    ]


def _transport_lines(result: Result) -> list[str]:
    costs = _spreads(result.select(metric=("transport_cost", "transport_cost_unpaired")))
    if len(costs) < 2:
        return []
    coupled, unpaired = (costs[name].mean for name in ("transport_cost", "transport_cost_unpaired"))
    return [f"transport cost {coupled:.4g} coupled, {unpaired:.4g} unpaired"]


def _flow_lines(result: Result) -> list[str]:
    """Values of the flow itself, one line a guidance."""
    rows = [row for row in result.select(sampler=None) if row["guidance"] is not None]
    found = _grouped(rows, lambda row: row["guidance"])
    return [
        ", ".join(f"{name} {_as_text(values)}" for name, values in _spreads(own).items())
        + (f" at guidance {guidance:g}" if len(found) > 1 else "")
        for guidance, own in found.items()
    ]


def _prior_sentences(result: Result, lines: list[Line]) -> list[str]:
    """Where the flow is worse than its prior alone: one sentence for each sampler and guidance."""
    groups, found = _grouped(lines, _setting_of), []
    samplers, guidances = ({key[part] for key in groups} for part in (0, 1))
    for (sampler, guidance), group in groups.items():
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


def _grouped(items: Iterable[Item], key: Callable[[Item], Any]) -> dict[Any, list[Item]]:
    """The items of each key, in the order of the first one."""
    found: dict[Any, list[Item]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found


def _spreads(rows: Iterable[dict[str, Any]]) -> dict[str, Spread]:
    """Mean and deviation of each metric."""
    groups = _grouped(rows, lambda row: row["metric"])
    return {metric: spread([row["value"] for row in own]) for metric, own in groups.items()}


def _as_text(found: Spread) -> str:
    return f"{found.mean:.4g}" + ("" if found.std is None else f" ± {found.std:.2g}")
