"""The last tables of a run: ratios and share of the copy's bandwidth, then shares of the training step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.operators.comparison import Comparison, comparisons

RATIOS = "Ratios: the time of each way over ours, the calls taking turns; above 1 flowprior is faster"
SHARES = "Share of the training step: what prior, coupling, path and loss take beside the network"


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
