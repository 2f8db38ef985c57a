"""The report of a study, from what is on the disk: report.json, and one HTML page that loads nothing else."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import tomli_w

from flowprior.errors import FlowpriorError
from flowprior.report import wording
from flowprior.report.charts import convergence_charts, quality_charts, styles
from flowprior.report.gallery import galleries
from flowprior.report.wording import BETTER, count, data_size, duration, number, p_value, with_spread
from flowprior.storage import write_text
from flowprior.study.cell_file import Collection, StudyFolder, collect, write_object
from flowprior.study.summary import OWN_NFE, VALIDATION, long_table, sign_of, summarise

COSTS: dict[str, tuple[str, Callable[[float | None], str]]] = {
    "prior_fit_seconds": ("fit the prior", duration),
    "prior_bytes": ("keep the prior", data_size),
    "seconds_per_step": ("one training step", duration),
    "transport_cost": ("transport cost, coupled", number),
    "transport_cost_unpaired": ("transport cost, not coupled", number),
}
"""What costs are called, and how they are written."""
BARS = ("prior_fit_seconds", "prior_bytes", "seconds_per_step")


def require_report_extra() -> None:
    """Refuse to begin where the report could not be written in the end.

    Raises:
        FlowpriorError: jinja2 or pandas is not installed.
    """
    for package in ("jinja2", "pandas"):
        if find_spec(package) is None:
            raise FlowpriorError(f"compare: the report needs {package}; pip install 'flowprior[plot]'")


def write_report(
    out: str | Path, *, baseline: str | None = None, metric: str | None = None
) -> dict[str, Any]:
    """Write OUT/report.json and OUT/report.html; cells without a result are listed as such.

    Args:
        out: directory of the comparison.
        baseline: what to compare with from now on; None leaves it as it is.
        metric: what the summary is about from now on; None leaves it as it is.

    Returns:
        What report.json holds.

    Raises:
        CheckpointError: there is no comparison, or a file is damaged or cannot be written.
        OptionError: the grid names a baseline or a metric that there is not.
        FlowpriorError: the plot extra is not installed.
    """
    folder = StudyFolder(out)
    require_report_extra()
    collection = collect(folder)
    changes = {"baseline": baseline, "metric": metric}
    collection.grid |= {name: value for name, value in changes.items() if value is not None}
    summary = summarise(collection)
    if any(changes.values()):
        write_object(folder.plan, {**folder.read_plan(), "grid": collection.grid})
        write_text(folder.grid, tomli_w.dumps(collection.grid))
    write_object(folder.values, summary)
    write_text(folder.report, _page(summary, folder, collection))
    return summary


def _page(summary: dict[str, Any], folder: StudyFolder, collection: Collection) -> str:
    """The page: the template shows the parts of the summary in the words of :mod:`.wording`."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    table = long_table(collection)
    table = table[table["split"] != VALIDATION]
    looks = styles([variant for variant in summary["variants"] if not variant["skipped"]])
    css, template = (
        files("flowprior.report").joinpath(name).read_text(encoding="utf-8")
        for name in ("page.css", "page.html.jinja")
    )
    content = vars(wording) | summary
    content |= {"summary": summary, "styles": looks, "css": Markup(css), "out": folder.path}
    return (
        Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
        .from_string(template)
        .render(
            content,
            quality_charts=quality_charts(summary, table, looks),
            convergence_charts=convergence_charts(summary, table, looks),
            galleries=galleries(folder, collection),
            tables=quality_tables(summary),
            cost_columns=_cost_columns(summary),
            toml=tomli_w.dumps(collection.grid),
        )
    )


def quality_tables(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """One table for each metric: variants down, samplers and their numbers of evaluations across.

    Those of the validation split come last, where a study holds one out.
    """
    # A metric …-std is a deviation inside one evaluation; the table shows that over seeds.
    metrics = [metric for metric in summary["metrics"] if not metric.endswith("-std")]
    parts = [(metric, part) for part in ("quality", "validation") for metric in metrics]
    found = {key: [row for row in summary[key[1]] if row["metric"] == key[0]] for key in parts}
    return [_quality_table(summary, metric, rows, part) for (metric, part), rows in found.items() if rows]


def _quality_table(
    summary: dict[str, Any], metric: str, rows: list[dict[str, Any]], part: str
) -> dict[str, Any]:
    samplers, about, tested = list(summary["samplers"]), summary["metrics"][metric], part == "quality"
    cells = {(row["variant"], (samplers.index(row["sampler"]), _asked(row))): row for row in rows}
    places = sorted({place for _, place in cells})
    sign = sign_of(about)
    best = {at: min(sign * row["mean"] for (_, place), row in cells.items() if place == at) for at in places}
    shown = {
        key: _table_cell(row, sign != 0 and sign * row["mean"] == best[key[1]]) for key, row in cells.items()
    }
    against = about["reference"] if tested else "the validation split"
    score = about["real_data_score"] if tested else None
    return {
        "metric": metric if tested else f"{metric}, validation",
        "better": BETTER[about["better"]],
        "about": f"{about['description']}; {about['samples']:,} samples against {against}",
        "groups": [(name, sum(at == turn for at, _ in places)) for turn, name in enumerate(samplers)],
        "columns": ["own NFE" if nfe == OWN_NFE else count(nfe) if nfe else "0 (prior)" for _, nfe in places],
        "rows": [
            {"label": label, "cells": [shown.get((label, place)) for place in places]}
            for label in dict.fromkeys(label for label, _ in cells)
        ],
        "real_data": None if score is None else number(score),
        "note": wording.prior_sentence(summary, metric) if tested else "",
    }


def _asked(row: dict[str, Any]) -> float:
    return OWN_NFE if row["adaptive"] else row["nfe"]


def _table_cell(row: dict[str, Any], best: bool) -> dict[str, Any]:
    """Value, and below it as text the NFE where a sampler chose it, the ratio to the baseline, and p."""
    test = row["against_baseline"] or {"ratio": None, "p_sign_flip": None}
    ratio, p = test["ratio"], test["p_sign_flip"]
    below = [f"{count(row['nfe'])} NFE"] if row["adaptive"] else []
    below += [] if ratio is None else [f"× {number(ratio)}"]
    below += [] if p is None else [f"p = {p_value(p)}"]
    return {"value": with_spread(row["mean"], row["std"]), "best": best, "below": " · ".join(below)}


def _cost_columns(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """What each variant costs: a title, whether it is drawn as bars, and a cell for each variant."""
    rows = [row for row in summary["costs"] if row["sampling"]]
    own = [(*COSTS[name], name in BARS, {row["variant"]: row[name] for row in rows}) for name in COSTS]
    timed: dict[tuple[str, float], dict[str, float | None]] = {}
    for row in rows:
        for at in row["sampling"]:
            seconds = timed.setdefault((at["sampler"], _asked(at)), {row["variant"]: None for row in rows})
            seconds[row["variant"]] = at["seconds_per_1000"]
    last = [place for place in timed if place[0] == next(iter(summary["samplers"]))][-1:]
    for (sampler, nfe), seconds in timed.items():
        where = f"{sampler}, " * (len(summary["samplers"]) > 1) + ("own NFE" if nfe == OWN_NFE else f"{count(nfe)} NFE")
        own.append((f"1,000 samples, {where}", duration, (sampler, nfe) in last, seconds))
    return [
        {"title": title, "bars": bars, "cells": _cost_cells(values, write)}
        for title, write, bars, values in own
        if rows
    ]


def _cost_cells(values: dict[str, float | None], write: Callable[[float | None], str]) -> dict[str, Any]:
    """For each variant its cost as text, and in percent of the largest."""
    largest = max(value or 0 for value in values.values()) or 1
    return {
        label: {"value": write(value), "share": round(100 * (value or 0) / largest, 1)}
        for label, value in values.items()
    }
