"""The report of a study, from what is on the disk: report.json, and one HTML page that loads nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from flowprior.display.shown import counted
from flowprior.errors import FlowpriorError, pip_install
from flowprior.evaluation.summary import OWN_NFE, SIGNS, place_of
from flowprior.pictures.quality import BETTER
from flowprior.report import wording
from flowprior.report.figures import charts
from flowprior.report.gallery import galleries
from flowprior.report.wording import count, data_size, duration, number, p_value, with_spread
from flowprior.storage.writing import write_text
from flowprior.study.folder import Study, StudyFolder, read_study, write_object
from flowprior.study.grid import dump_grid
from flowprior.study.summary import Rows, summarise
from flowprior.study.table import result_rows, write_results

COSTS: dict[str, tuple[str, Callable[[float | None], str]]] = {
    "prior_fit_seconds": ("fit the prior", duration),
    "prior_bytes": ("keep the prior", data_size),
    "seconds_per_step": ("one training step", duration),
    "transport_cost": ("transport cost, coupled", number),
    "transport_cost_unpaired": ("transport cost, not coupled", number),
}
"""Cost -> its name, and the function that writes it."""


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
        baseline: what to compare with; None is that of the grid.
        metric: what the summary is about; None is that of the grid.

    Returns:
        What report.json holds.

    Raises:
        CheckpointError: there is no comparison, or a file is damaged or cannot be written.
        OptionError: the grid names a baseline or a metric that there is not.
        FlowpriorError: the plot extra is not installed.
    """
    folder = StudyFolder(out)
    require_report_extra()
    study = read_study(folder)
    grid = study.plan.grid
    chosen = {
        "baseline": grid.baseline if baseline is None else baseline,
        "metric": grid.metric if metric is None else metric,
    }
    study.plan = replace(study.plan, grid=replace(grid, **chosen))
    summary = summarise(study)
    page = _page(summary, study, folder)
    with folder.lock():
        write_results(folder.results, result_rows(study))
        write_object(folder.values, summary)
        write_text(folder.report, page)
    return summary


def _page(summary: dict[str, Any], study: Study, folder: StudyFolder) -> str:
    """Return the page: the template shows the parts of the summary, in the words of ``wording``."""
    from jinja2 import Environment, StrictUndefined

    css, template = (
        files("flowprior.report").joinpath(name).read_text(encoding="utf-8")
        for name in ("page.css", "page.html.jinja")
    )
    content = vars(wording) | summary | {"summary": summary, "css": css, "counted": counted}
    return (
        Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
        .from_string(template)
        .render(
            content,
            quality_charts=charts(summary),
            curve_charts=charts(summary, "step"),
            galleries=galleries(study, folder),
            tables=quality_tables(summary),
            cost_columns=COSTS,
            toml=dump_grid(study.plan.grid),
        )
    )


def quality_tables(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one table for each metric: variants down, samplers and their numbers of evaluations across.

    Those of the validation split and of further references come last, where a study has some.
    """
    # A metric …-std is a deviation inside one evaluation; the table shows that over seeds.
    metrics = [metric for metric in summary["metrics"] if not metric.endswith("-std")]
    texts = {"validation": "the validation split"}
    texts |= {name: f"the test split of {spec}" for name, spec in summary["grid"]["references"].items()}
    return [
        _quality_table(summary, metric, split, texts.get(split, ""), rows)
        for split, found in {summary["grid"]["splits"][0]: summary["quality"], **summary["splits"]}.items()
        for metric in metrics
        if (rows := [row for row in found if row["metric"] == metric])
    ]


def _quality_table(
    summary: dict[str, Any], metric: str, split: str, against: str, rows: Rows
) -> dict[str, Any]:
    """Return the table of one metric; ``against`` says what the split is, of another than the test split."""
    samplers, about = summary["samplers"], summary["metrics"][metric]
    columns: dict[tuple[int, float], dict[str, dict[str, Any]]] = {}
    for row in rows:
        columns.setdefault((samplers.index(row["sampler"]), place_of(row)), {})[row["variant"]] = row
    places = sorted(columns)
    shown = [_column(columns[place], SIGNS[about["better"]]) for place in places]
    score = about["real_data"].get(split)
    return {
        "metric": f"{metric}, {split}" if against else metric,
        "better": BETTER[about["better"]],
        "about": f"{about['description']}; {about['samples']:,} samples against "
        f"{against or about['reference']}",
        "groups": [(name, sum(at == turn for at, _ in places)) for turn, name in enumerate(samplers)],
        "columns": ["own NFE" if nfe == OWN_NFE else count(nfe) if nfe else "0 (prior)" for _, nfe in places],
        "rows": [
            {"label": label, "cells": [column.get(label) for column in shown]}
            for label in dict.fromkeys(row["variant"] for row in rows)
        ],
        "real_data": None if score is None else number(score),
        "note": "" if against else wording.worse_than_prior(summary, metric),
    }


def _column(rows: dict[str, dict[str, Any]], sign: int) -> dict[str, dict[str, Any]]:
    """Return values, whether they are the best, and below them a sampler's own NFE, the ratio and p."""
    best, cells = min(sign * row["mean"] for row in rows.values()), {}
    for label, row in rows.items():
        test = row["against_baseline"] or {"ratio": None, "p": None}
        ratio, p = test["ratio"], test["p"]
        below = [f"{count(row['nfe'])} NFE"] if row["adaptive"] else []
        below += [] if ratio is None else [f"× {number(ratio)}"]
        below += [] if p is None else [f"p = {p_value(p)}"]
        is_best = sign != 0 and sign * row["mean"] == best
        value = with_spread(row["mean"], row["std"])
        cells[label] = {"value": value, "best": is_best, "below": " · ".join(below)}
    return cells
