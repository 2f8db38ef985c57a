"""What a run of the benchmarks says once its rows stand beside each other: ratios, bandwidth, shares.

Works on the rows of pytest-benchmark, as it hands them to its hooks or writes them as JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.operators.groups import FALLBACK, NATIVE, WHOLE

OWN = (NATIVE, WHOLE, FALLBACK)


@dataclass
class Comparison:
    """A group: our milliseconds, and each other way's ratio to them, above 1 where we are faster.

    Ratios are those of calls in turn where there are such, otherwise those of the rows' medians.
    """

    group: str
    ours: str
    milliseconds: dict[str, float]
    ratio: dict[str, float]
    info: Mapping[str, Any] = field(default_factory=dict)


def comparisons(rows: Iterable[Mapping[str, Any]]) -> list[Comparison]:
    """A comparison for each group in which flowprior and another way ran, in the order of the rows."""
    groups: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        if "way" in row["extra_info"]:
            groups.setdefault(row["group"], {})[row["extra_info"]["way"]] = row
    found = (_comparison(group, ways) for group, ways in groups.items())
    return [comparison for comparison in found if comparison is not None]


def median(row: Mapping[str, Any]) -> float:
    """Median seconds of a row, flat or as in the JSON."""
    return float(row.get("stats", row)["median"])


def _comparison(group: str, ways: dict[str, Mapping[str, Any]]) -> Comparison | None:
    ours = next((way for way in OWN if way in ways), None)
    if ours is None:
        return None
    info = ways[ours]["extra_info"]
    milliseconds = info.get("milliseconds") or {way: median(row) * 1e3 for way, row in ways.items()}
    ratio = {way: value / milliseconds[ours] for way, value in milliseconds.items() if way != ours}
    return Comparison(group, ours, milliseconds, ratio, info) if ratio or "bandwidth" in info else None
