"""An evaluation as a table for people: means and deviations, floors, and in what terms they were measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowprior.report.wording import comma_list

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from flowprior.evaluation.sweep_result import Line, Spread, Sweep
    from flowprior.metrics.base import MetricInfo

ARROWS = {"lower": " ↓", "higher": " ↑"}
MOST_COLUMNS = 6
"""More metrics than these become rows."""


def sweep_table(sweep: Sweep) -> Table:
    """Figures by sampler, guidance and NFE; an arrow points to each metric's better side, floors come last.

    A few metrics are columns; more of them are rows, so that the table keeps to the width of a page.
    """
    from rich.table import Table
    from rich.text import Text

    lines = sweep.lines()
    keys = [name for name in ("sampler", "guidance") if len({getattr(line, name) for line in lines}) > 1]
    title, caption = Text(_title(sweep), "table.title"), Text(_caption(sweep), "table.caption")
    table = Table(title=title, caption=caption, caption_justify="left")
    for key in keys:
        table.add_column(key, justify="left" if key == "sampler" else "right", no_wrap=True)
    fill = _metrics_as_columns if len(sweep.metrics) <= MOST_COLUMNS else _metrics_as_rows
    fill(table, sweep, keys)
    return table


def _metrics_as_columns(table: Table, sweep: Sweep, keys: list[str]) -> None:
    metrics = sweep.metrics
    table.add_column("NFE", justify="right", no_wrap=True)
    for name, metric in metrics.items():
        table.add_column(_heading(name, metric), justify="right", overflow="fold")
    table.add_column("seconds", justify="right")
    for group in _groups(sweep.lines()):
        table.add_section()
        for line in group:
            figures = [show(line.figures.get(name)) for name in metrics]
            table.add_row(*_setting(line, keys), f"{line.nfe:g}", *figures, _seconds(line))
    if any(metric.real_data_score is not None for metric in metrics.values()):
        table.add_section()
        floors = [_floor(metric) for metric in metrics.values()]
        table.add_row(*("" for _ in keys), "real", *floors, "", style="dim")


def _metrics_as_rows(table: Table, sweep: Sweep, keys: list[str]) -> None:
    lines = sweep.lines()
    counts = sorted({line.nfe for line in lines})
    table.add_column("metric", no_wrap=True)
    for count in counts:
        table.add_column(f"NFE {count:g}", justify="right", overflow="fold")
    table.add_column("real", justify="right", style="dim", overflow="fold")
    for group in _groups(lines):
        table.add_section()
        at = {line.nfe: line for line in group}
        names: list[Text | str] = _setting(group[0], keys)
        for name, metric in sweep.metrics.items():
            figures = [show(at[count].figures.get(name)) if count in at else "" for count in counts]
            table.add_row(*names, _heading(name, metric), *figures, _floor(metric))
            names = ["" for _ in keys]
        seconds = [_seconds(at[count]) if count in at else "" for count in counts]
        table.add_row(*names, "seconds", *seconds, "")


def _groups(lines: list[Line]) -> list[list[Line]]:
    """The lines of each sampler and guidance."""
    found: dict[tuple[str, float], list[Line]] = {}
    for line in lines:
        found.setdefault((line.sampler, line.guidance), []).append(line)
    return list(found.values())


def _heading(name: str, metric: MetricInfo) -> Text:
    """A metric's name and the arrow to its better side; text, so that no name is read as markup."""
    from rich.text import Text

    return Text(name + ARROWS.get(metric.better, ""))


def _setting(line: Line, keys: list[str]) -> list[Text | str]:
    from rich.text import Text

    values = [getattr(line, key) for key in keys]
    return [Text(value) if isinstance(value, str) else f"{value:g}" for value in values]


def _seconds(line: Line) -> str:
    return f"{line.figures['seconds'].mean:.4g}"


def _floor(metric: MetricInfo) -> str:
    return "" if metric.real_data_score is None else f"{metric.real_data_score:.4g}"


def show(spread: Spread | None) -> str:
    """``12.34``, or ``12.34 ± 0.56`` over seeds."""
    if spread is None:
        return ""
    return f"{spread.mean:.4g}" + ("" if spread.std is None else f" ± {spread.std:.2g}")


def settings_line(settings: dict[str, Any]) -> str:
    """Sample count, reference, guidance and seed in one line."""
    return (
        f"{settings['samples']} samples against {settings['reference']}, "
        f"guidance {settings['guidance']:g}, seed {settings['seed']}"
    )


def _title(sweep: Sweep) -> str:
    settings = sweep.evaluations[0].settings
    samplers = ", ".join(dict.fromkeys(e.settings["sampler"] for e in sweep.evaluations))
    return f"{settings['prior']} + {settings['coupling']} on {settings['data']}, {samplers}"


def _caption(sweep: Sweep) -> str:
    costs = sweep.transport()
    transport = f"transport cost {costs['paired']:.4g} coupled, {costs['unpaired']:.4g} unpaired"
    parts = [*_other_terms(sweep), transport, *_flow_lines(sweep), *prior_sentences(sweep), *sweep.notes]
    return "\n".join([_terms(sweep), *parts])


def prior_sentences(sweep: Sweep) -> list[str]:
    """Where the flow is worse than its prior alone: one sentence for each sampler and guidance."""
    groups: dict[tuple[str, float], list[str]] = {}
    for loss in sweep.losses():
        where = f"{loss.metric} at NFE {comma_list([f'{count:g}' for count in loss.nfe])}"
        groups.setdefault((loss.sampler, loss.guidance), []).append(where)
    samplers, guidances = ({getattr(line, key) for line in sweep.lines()} for key in ("sampler", "guidance"))
    found = []
    for (sampler, guidance), places in groups.items():
        terms = [sampler] * (len(samplers) > 1) + [f"guidance {guidance:g}"] * (len(guidances) > 1)
        start = f"With {', '.join(terms)} the" if terms else "The"
        found.append(f"{start} flow is worse than its prior alone (NFE 0) in {'; in '.join(places)}.")
    return found


def _terms(sweep: Sweep) -> str:
    """What most figures were measured against; several seeds are counted."""
    settings = dict(sweep.evaluations[0].settings)
    guidances = dict.fromkeys(e.settings["guidance"] for e in sweep.evaluations)
    if len(guidances) == 1 and len(sweep.seeds) == 1:
        return settings_line(settings)
    seeds = ", ".join(map(str, sweep.seeds))
    spread = "mean ± standard deviation over seeds" if len(sweep.seeds) > 1 else "seed"
    guidance = ", ".join(f"{value:g}" for value in guidances)
    terms = f"{settings['samples']} samples against {settings['reference']}"
    return f"{terms}, guidance {guidance}, {spread} {seeds}"


def _other_terms(sweep: Sweep) -> list[str]:
    """Metrics of other counts or references than most: one line for each pair of these."""
    settings = sweep.evaluations[0].settings
    groups: dict[str, list[str]] = {}
    for name, metric in sweep.metrics.items():
        if (metric.samples, metric.reference) != (settings["samples"], settings["reference"]):
            groups.setdefault(_measured(metric), []).append(name)
    return [f"{', '.join(names)}: {terms}" for terms, names in groups.items()]


def _measured(metric: MetricInfo) -> str:
    against = f" against {metric.reference}" if metric.reference else ""
    return f"{metric.samples} samples{against}"


def _flow_lines(sweep: Sweep) -> list[str]:
    """Figures of the flow itself, one line a guidance."""
    found = sweep.flow_lines()
    return [
        ", ".join(f"{name} {show(spread)}" for name, spread in figures.items())
        + (f" at guidance {guidance:g}" if len(found) > 1 else "")
        for guidance, figures in found.items()
        if figures
    ]
