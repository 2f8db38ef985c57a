"""The tables and bars of the report: every value, and what everything costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flowprior.report.wording import (
    ARROWS,
    BETTER,
    DASH,
    count,
    data_size,
    duration,
    number,
    p_value,
    prior_sentence,
    with_spread,
)
from flowprior.study.summary import OWN_NFE, sign_of

COSTS: dict[str, tuple[str, Callable[[float | None], str]]] = {
    "prior_fit_seconds": ("fit the prior", duration),
    "prior_bytes": ("keep the prior", data_size),
    "seconds_per_step": ("one training step", duration),
    "transport_cost": ("transport cost, coupled", number),
    "transport_cost_unpaired": ("transport cost, not coupled", number),
}
"""What costs are called, and how they are written."""
BARS = ("prior_fit_seconds", "prior_bytes", "seconds_per_step")


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
    samplers, about = list(summary["samplers"]), summary["metrics"][metric]
    cells = {(row["variant"], _place(row, samplers)): row for row in rows}
    places = sorted({place for _, place in cells})
    sign = sign_of(about)
    best = {at: min(sign * row["mean"] for (_, place), row in cells.items() if place == at) for at in places}
    shown = {
        key: _table_cell(row, sign != 0 and sign * row["mean"] == best[key[1]]) for key, row in cells.items()
    }
    tested = part == "quality"
    against = about["reference"] if tested else "the validation split"
    score = about["real_data_score"] if tested else None
    return {
        "metric": metric if tested else f"{metric}, validation",
        "better": BETTER[about["better"]],
        "about": f"{about['description']}; {about['samples']:,} samples against {against}",
        "groups": [(name, sum(at[0] == turn for at in places)) for turn, name in enumerate(samplers)],
        "columns": [_column(place[1]) for place in places],
        "rows": [
            {"label": label, "cells": [shown.get((label, place)) for place in places]}
            for label in dict.fromkeys(label for label, _ in cells)
        ],
        "real_data": None if score is None else number(score),
        "note": prior_sentence(summary, metric) if tested else "",
    }


def flow_table(summary: dict[str, Any]) -> dict[str, Any]:
    """Values of the flows themselves: variants down, metrics across; no columns where there are none."""
    metrics = summary["flow_metrics"]
    rows: dict[str, dict[str, str]] = {}
    for row in summary["flow"]:
        rows.setdefault(row["variant"], {})[row["metric"]] = with_spread(row["mean"], row["std"])
    return {
        "columns": [name + ARROWS.get(about["better"], "") for name, about in metrics.items()],
        "abouts": [f"{name}: {about['description']}" for name, about in metrics.items()],
        "rows": [
            {"label": label, "cells": [own.get(name, DASH) for name in metrics]}
            for label, own in rows.items()
        ],
    }


def _place(row: dict[str, Any], samplers: list[str]) -> tuple[int, float]:
    """Where a row stands: number of its sampler, and NFE."""
    return samplers.index(row["sampler"]), OWN_NFE if row["adaptive"] else row["nfe"]


def _column(nfe: float) -> str:
    """Heading of a column; 0 evaluations are the prior alone."""
    return "own NFE" if nfe == OWN_NFE else count(nfe) if nfe else "0 (prior)"


def _table_cell(row: dict[str, Any], best: bool) -> dict[str, Any]:
    """Figure, NFE where a sampler chose it, ratio to the baseline and p, as text; empty for none."""
    test = row["against_baseline"] or {}
    ratio, p = test.get("ratio"), test.get("p_sign_flip")
    texts = {
        "nfe": f"{count(row['nfe'])} NFE" if row["adaptive"] else "",
        "ratio": "" if ratio is None else f"× {number(ratio)}",
        "p": "" if p is None else f"p = {p_value(p)}",
    }
    below = " · ".join(text for text in texts.values() if text)
    return {"value": with_spread(row["mean"], row["std"]), "best": best, "below": below, **texts}


def cost_tables(summary: dict[str, Any]) -> dict[str, Any]:
    """Bars of what a user waits and stores, and a table of everything."""
    rows = [row for row in summary["costs"] if row["sampling"]]
    if not rows:
        return {"costs": [], "cost_columns": [], "cost_rows": []}
    columns = {name: (title, write, [row[name] for row in rows]) for name, (title, write) in COSTS.items()}
    spent = [_seconds(row) for row in rows]
    for sampler, nfe in dict.fromkeys(place for own in spent for place in own):
        where = f"{sampler}, " * (len(summary["samplers"]) > 1) + nfe
        seconds = [own.get((sampler, nfe)) for own in spent]
        columns[f"{sampler} {nfe}"] = (f"1,000 samples, {where}", duration, seconds)
    labels, first = [row["variant"] for row in rows], next(iter(summary["samplers"]))
    shown = [*BARS, [name for name in columns if name.startswith(f"{first} ")][-1]]
    return {
        "costs": [_bars(labels, *columns[name]) for name in shown],
        "cost_columns": [title for title, _, _ in columns.values()],
        "cost_rows": [
            {"label": label, "cells": [write(values[place]) for _, write, values in columns.values()]}
            for place, label in enumerate(labels)
        ],
    }


def _seconds(row: dict[str, Any]) -> dict[tuple[str, str], float]:
    """(sampler, NFE as text) -> seconds for 1,000 samples of a variant."""
    return {
        (place["sampler"], "own NFE" if place["adaptive"] else f"{count(place['nfe'])} NFE"): place[
            "seconds_per_1000"
        ]
        for place in row["sampling"]
    }


def _bars(labels: list[str], title: str, write: Any, values: list[float | None]) -> dict[str, Any]:
    largest = max((value or 0 for value in values), default=0) or 1
    bars = [
        {"label": label, "value": write(value), "share": round(100 * (value or 0) / largest, 1)}
        for label, value in zip(labels, values, strict=True)
    ]
    return {"name": title, "bars": bars}
