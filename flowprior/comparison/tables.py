"""The tables and bars of the report: every figure, and what everything costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flowprior.comparison.chart_page import ARROWS
from flowprior.comparison.wording import count, data_size, duration, number, p_value, with_spread

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
    """One table for each metric and sampler: NFE down, variants across."""
    several = len(summary["grid"]["samplers"]) > 1
    tables = []
    for metric, about in summary["metrics"].items():
        for sampler in summary["grid"]["samplers"]:
            rows = [r for r in summary["quality"] if (r["metric"], r["sampler"]) == (metric, sampler)]
            columns = list(dict.fromkeys(row["variant"] for row in rows))
            places = sorted({("own" if row["adaptive"] else row["nfe"]) for row in rows}, key=str)
            places.sort(key=lambda place: -1 if place == "own" else place)
            if not rows:
                continue
            tables.append(
                {
                    "name": metric,
                    "sampler": sampler,
                    "title": f"{metric}, {sampler}" if several else metric,
                    "better": ARROWS[about["better"]],
                    "about": f"{about['description']}; {about['samples']:,} samples against "
                    f"{about['reference']}",
                    "columns": columns,
                    "rows": [_table_row(rows, place, columns, about["better"]) for place in places],
                    "floor": None if about["floor"] is None else number(about["floor"]),
                }
            )
    return tables


def _table_row(rows: list[dict[str, Any]], place: Any, columns: list[str], better: str) -> dict[str, Any]:
    own = {r["variant"]: r for r in rows if ("own" if r["adaptive"] else r["nfe"]) == place}
    sign = {"lower": 1, "higher": -1}.get(better, 0)
    best = min(own.values(), key=lambda row: sign * row["mean"])["variant"] if sign else None
    cells = [_table_cell(own[label], label == best) if label in own else None for label in columns]
    return {"nfe": "adaptive" if place == "own" else count(place), "cells": cells}


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
    return {"figure": with_spread(row["mean"], row["std"]), "best": best, "below": below, **texts}


def cost_tables(summary: dict[str, Any]) -> dict[str, Any]:
    """Bars of what a user waits and stores, and a table of everything."""
    rows = [row for row in summary["costs"] if row["sampling"]]
    if not rows:
        return {"costs": [], "cost_columns": [], "cost_rows": []}
    several = len(summary["grid"]["samplers"]) > 1
    columns = {name: (title, write, [row[name] for row in rows]) for name, (title, write) in COSTS.items()}
    for turn, place in enumerate(rows[0]["sampling"]):
        where = f"{place['sampler']}, " * several + f"{count(place['nfe'])} NFE"
        values = [row["sampling"][turn]["seconds_per_1000"] for row in rows]
        columns[f"sampling {turn}"] = (f"1,000 samples, {where}", duration, values)
    labels = [row["variant"] for row in rows]
    shown = [*BARS, f"sampling {len(rows[0]['sampling']) - 1}"]
    return {
        "costs": [_bars(labels, *columns[name]) for name in shown],
        "cost_columns": [title for title, _, _ in columns.values()],
        "cost_rows": [
            {"label": label, "cells": [write(values[place]) for _, write, values in columns.values()]}
            for place, label in enumerate(labels)
        ],
    }


def _bars(labels: list[str], title: str, write: Any, values: list[float | None]) -> dict[str, Any]:
    largest = max((value or 0 for value in values), default=0) or 1
    bars = [
        {"label": label, "value": write(value), "share": round(100 * (value or 0) / largest, 1)}
        for label, value in zip(labels, values, strict=True)
    ]
    return {"name": title, "bars": bars}
