"""What an evaluation says of itself at a prompt and in a notebook: the best values, and a table by NFE."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from flowprior.display import Table, counted
from flowprior.metrics.base import MetricInfo

Rows = Iterable[Mapping[str, Any]]
MOST_METRICS = 6
"""Metrics of which a prompt shows the best value."""
BETTER = {"lower": min, "higher": max}


def best_values(rows: Rows, metrics: Mapping[str, MetricInfo]) -> list[str]:
    """``fid-cnn128 1.93 at NFE 30, euler (lower is better)`` for each of the first few metrics."""
    means = _means(rows)
    lines = []
    for name, info in metrics.items():
        own = {place: values[name] for place, values in means.items() if name in values}
        if own and info.better in BETTER:
            sampler, _, nfe = place = BETTER[info.better](own, key=own.__getitem__)
            lines.append(f"{name} {own[place]:.4g} at NFE {nfe}, {sampler} ({info.better} is better)")
    more = len(lines) - MOST_METRICS
    return lines[:MOST_METRICS] + ([f"and {counted(more, 'metric')} more"] if more > 0 else [])


def table_by_nfe(rows: Rows, metrics: Mapping[str, MetricInfo]) -> Table:
    """Means over seeds: a row for each sampler, guidance and number of evaluations, a column a metric."""
    shown = [[*place, *(own.get(name) for name in metrics)] for place, own in _means(rows).items()]
    return Table(("sampler", "guidance", "NFE", *metrics), shown)


def _means(rows: Rows) -> dict[tuple[Any, ...], dict[str, float]]:
    """(sampler, guidance, NFE) -> metric -> mean over seeds, of the first split."""
    kept = [row for row in rows if row["nfe"] is not None and row["value"] is not None]
    first = next((row["split"] for row in kept if row["split"] is not None), None)
    found: dict[tuple[Any, ...], dict[str, list[float]]] = {}
    for row in kept:
        if row["split"] in (None, first):
            place = (row["sampler"], row["guidance"], row["nfe"])
            found.setdefault(place, {}).setdefault(row["metric"], []).append(row["value"])
    return {place: {name: statistics.fmean(v) for name, v in own.items()} for place, own in found.items()}
