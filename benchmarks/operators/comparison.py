"""What a run of the benchmarks says once its rows stand beside each other, and the last tables it prints.

Ratios and share of the copy's bandwidth, then shares of the training step.

Works on the rows of pytest-benchmark, as it hands them to its hooks or writes them as JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.operators.groups import FALLBACK, NATIVE, WHOLE

OWN = (NATIVE, WHOLE, FALLBACK)
RATIOS = "Ratios: the time of each way over ours, the calls taking turns; above 1 flowprior is faster"
SHARES = "Share of the training step: what prior, coupling, path and loss take beside the network"


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


def closing_tables(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Lines of both tables; none of a table without rows."""
    found = comparisons(rows)
    steps = [one for one in found if "share" in one.info]
    others = [one for one in found if "share" not in one.info]
    return [*_ratios(others), *_shares(steps)]


def duration(milliseconds: float) -> str:
    """Three digits and a unit: us, ms or s."""
    for unit, scale in (("us", 1e3), ("ms", 1.0)):
        if milliseconds * scale < 999.5:
            return f"{milliseconds * scale:.3g} {unit}"
    return f"{milliseconds / 1e3:.3g} s"


def times(ratio: float) -> str:
    """Three digits, without an exponent."""
    return f"{ratio:,.0f}" if ratio >= 99.95 else f"{ratio:.3g}"


def _ratios(found: list[Comparison]) -> list[str]:
    if not found:
        return []
    lines = [["group", "ours", "copy bandwidth", "ratios"]]
    for one in found:
        bandwidth = f"{one.info['bandwidth']:.0%}" if "bandwidth" in one.info else "-"
        ratios = ", ".join(f"{way} {times(ratio)}" for way, ratio in one.ratio.items())
        own = f"{one.ours.removeprefix('flowprior ')} {duration(one.milliseconds[one.ours])}"
        lines.append([one.group, own, bandwidth, ratios])
    return ["", RATIOS, *_aligned(lines)]


def _shares(found: list[Comparison]) -> list[str]:
    if not found:
        return []
    ways = list(dict.fromkeys(way for one in found for way in one.milliseconds))
    lines = [["a step of 128 pictures", *ways]]
    for one in found:
        cells = [
            f"{duration(one.milliseconds[way])}, {one.info['share'][way]:.2%}"
            if way in one.milliseconds
            else "-"
            for way in ways
        ]
        lines.append([f"{one.info['prior']} + {one.info['coupling']}", *cells])
    network = duration(found[0].info["network_seconds"] * 1e3)
    return ["", f"{SHARES}, which takes {network}", *_aligned(lines)]


def _aligned(lines: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
