"""The report of a study, from what is on the disk: report.json, and one HTML page that loads nothing else."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import tomli_w

from flowprior.errors import FlowpriorError, pip_install
from flowprior.evaluation.summary import OWN_NFE, SIGNS, place_of
from flowprior.pictures.quality import BETTER
from flowprior.report import wording
from flowprior.report.figures import convergence_charts, quality_charts
from flowprior.report.gallery import galleries
from flowprior.report.wording import count, data_size, duration, number, p_value, with_spread
from flowprior.storage.writing import write_text
from flowprior.study.folders import Collection, StudyFolder, collect, write_object
from flowprior.study.summary import VALIDATION, Rows, summarise
from flowprior.study.table import result_rows, write_results

COSTS: dict[str, tuple[str, Callable[[float | None], str], bool]] = {
    "prior_fit_seconds": ("fit the prior", duration, True),
    "prior_bytes": ("keep the prior", data_size, True),
    "seconds_per_step": ("one training step", duration, True),
    "transport_cost": ("transport cost, coupled", number, False),
    "transport_cost_unpaired": ("transport cost, not coupled", number, False),
}
"""Cost -> its name, the function that writes it, and whether it is drawn as bars."""


def require_report_extra() -> None:
    """Refuse to begin where the report could not be written in the end.

    Raises:
        FlowpriorError: jinja2 is not installed.
    """
    if find_spec("jinja2") is None:
        raise FlowpriorError(f"compare: the report needs jinja2; {pip_install('plot')}")


def write_report(
    out: str | Path, *, baseline: str | None = None, metric: str | None = None
) -> dict[str, Any]:
    """Write OUT/results.csv, OUT/report.json and OUT/report.html; runs without a result are listed as such.

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
    page = _page(summary, collection)
    with folder.lock():
        if any(changes.values()):
            write_object(folder.plan, {**folder.read_plan(), "grid": collection.grid})
            write_text(folder.grid, tomli_w.dumps(collection.grid))
        write_results(folder.results, result_rows(collection))
        write_object(folder.values, summary)
        write_text(folder.report, page)
    return summary


def _page(summary: dict[str, Any], collection: Collection) -> str:
    """Return the page: the template shows the parts of the summary, in the words of ``wording``."""
    from jinja2 import Environment, StrictUndefined

    css, template = (
        files("flowprior.report").joinpath(name).read_text(encoding="utf-8")
        for name in ("page.css", "page.html.jinja")
    )
    content = vars(wording) | summary | {"summary": summary, "css": css}
    return (
        Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
        .from_string(template)
        .render(
            content,
            quality_charts=quality_charts(summary),
            convergence_charts=convergence_charts(summary),
            galleries=galleries(collection),
            tables=quality_tables(summary),
            cost_columns=_cost_columns(summary),
            toml=tomli_w.dumps(collection.grid),
        )
    )


def quality_tables(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one table for each metric: variants down, samplers and their numbers of evaluations across.

    Those of the validation split and of further references come last, where a study has some.
    """
    # A metric …-std is a deviation inside one evaluation; the table shows that over seeds.
    metrics = [metric for metric in summary["metrics"] if not metric.endswith("-std")]
    scores = {metric: summary["metrics"][metric]["real_data_score"] for metric in metrics}
    parts: list[tuple[str, str, Rows, dict[str, float | None]]] = [
        ("", "", summary["quality"], scores),
        (VALIDATION, "the validation split", summary[VALIDATION], {}),
    ]
    for name, own in summary["references"].items():
        parts.append((name, f"the test split of {own['data']}", own["quality"], own["real_data_score"]))
    return [
        _quality_table(summary, metric, part, against, rows, scores.get(metric))
        for part, against, found, scores in parts
        for metric in metrics
        if (rows := [row for row in found if row["metric"] == metric])
    ]


def _quality_table(
    summary: dict[str, Any], metric: str, part: str, against: str, rows: Rows, score: float | None
) -> dict[str, Any]:
    """Return the table of one metric; ``part`` names the split, unless it is the study's own test split."""
    samplers, about = list(summary["samplers"]), summary["metrics"][metric]
    columns: dict[tuple[int, float], dict[str, dict[str, Any]]] = {}
    for row in rows:
        columns.setdefault((samplers.index(row["sampler"]), place_of(row)), {})[row["variant"]] = row
    places = sorted(columns)
    shown = [_column(columns[place], SIGNS[about["better"]]) for place in places]
    against = against or about["reference"]
    return {
        "metric": f"{metric}, {part}" if part else metric,
        "better": BETTER[about["better"]],
        "about": f"{about['description']}; {about['samples']:,} samples against {against}",
        "groups": [(name, sum(at == turn for at, _ in places)) for turn, name in enumerate(samplers)],
        "columns": ["own NFE" if nfe == OWN_NFE else count(nfe) if nfe else "0 (prior)" for _, nfe in places],
        "rows": [
            {"label": label, "cells": [column.get(label) for column in shown]}
            for label in dict.fromkeys(row["variant"] for row in rows)
        ],
        "real_data": None if score is None else number(score),
        "note": "" if part else wording.prior_sentence(summary, metric),
    }


def _column(rows: dict[str, dict[str, Any]], sign: int) -> dict[str, dict[str, Any]]:
    """Return values, whether they are the best, and below them a sampler's own NFE, the ratio and p."""
    best, cells = min(sign * row["mean"] for row in rows.values()), {}
    for label, row in rows.items():
        test = row["against_baseline"] or {"ratio": None, "p_sign_flip": None}
        ratio, p = test["ratio"], test["p_sign_flip"]
        below = [f"{count(row['nfe'])} NFE"] if row["adaptive"] else []
        below += [] if ratio is None else [f"× {number(ratio)}"]
        below += [] if p is None else [f"p = {p_value(p)}"]
        is_best = sign != 0 and sign * row["mean"] == best
        value = with_spread(row["mean"], row["std"])
        cells[label] = {"value": value, "best": is_best, "below": " · ".join(below)}
    return cells


def _cost_columns(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the costs: title, the function that writes it, whether it is drawn as bars, cost by variant."""
    rows = [row for row in summary["costs"] if row["sampling"]]
    if not rows:
        return []
    columns = [(*COSTS[name], {row["variant"]: row[name] for row in rows}) for name in COSTS]
    seconds: dict[tuple[str, float], dict[str, float]] = {}
    for row in rows:
        for at in row["sampling"]:
            seconds.setdefault((at["sampler"], place_of(at)), {})[row["variant"]] = at["seconds_per_1000"]
    last = [place for place in seconds if place[0] == next(iter(summary["samplers"]))][-1]
    for place, own in seconds.items():
        where = f"{place[0]}, " * (len(summary["samplers"]) > 1)
        where += "own NFE" if place[1] == OWN_NFE else f"{count(place[1])} NFE"
        columns.append((f"1,000 samples, {where}", duration, place == last, own))
    names = ("title", "write", "bars", "costs")
    return [dict(zip(names, column, strict=True)) for column in columns]
