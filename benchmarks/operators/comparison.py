"""What a run of the benchmarks says once its rows stand beside each other.

In the terminal, the last tables of the run: ratios and share of the copy's bandwidth, then shares of the
training step. On the page of results, what pytest-benchmark has written as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.operators.groups import FALLBACK, NATIVE, WHOLE
from flowprior.report.markdown import markdown_table

OWN = (NATIVE, WHOLE, FALLBACK)
RATIOS = "Ratios: the time of each way over ours, the calls taking turns; above 1 flowprior is faster"
SHARES = "Share of the training step: what prior, coupling, path and loss take beside the network"
HEADER = ["operator and size", "ms", "ratio to (goal)", "share of copy bandwidth", "Gflop/s"]


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


# -- in the terminal ------------------------------------------------------------------------------------


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


# -- on the page of results --------------------------------------------------------------------------------


def timings(path: Path) -> dict[str, str]:
    """Fits and pairings: what was timed, who did it, how long it took; empty where it was not run."""
    if not path.exists():
        return {}
    said, rows = _read(path)
    ratios = {one.group: one.ratio for one in comparisons(rows)}
    header = ["what", "who", "median", "ratio", "beside it"]
    return said | {
        "table": markdown_table(header, (_timing(row, ratios.get(row["group"], {})) for row in rows))
    }


def _read(path: Path) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """What a file says of itself and of its processor; its rows, their groups with a sign of times."""
    report = json.loads(path.read_text(encoding="utf-8"))
    processor = report["machine_info"]["cpu"].get("brand_raw", "CPU")
    rows = [row | {"group": row["group"].replace(" x ", " × ")} for row in report["benchmarks"]]
    return {"machine": processor, "note": report.get("note", "")}, rows


def _timing(row: dict[str, Any], ratios: dict[str, float]) -> list[str]:
    info = row["extra_info"]
    way = info["way"]
    notes = (
        f"{name} {f'{value:.4g}' if isinstance(value, float) else f'{value:,}'}"
        for name, value in info.get("notes", {}).items()
    )
    taken = f"{median(row) * 1e3:,.1f} ms" if row["stats"] else "–"
    ratio = f"{ratios[way]:.1f}" if way in ratios else ""
    return [row["group"], way, taken, ratio, ", ".join(notes)]


def operators(path: Path) -> dict[str, Any]:
    """Ratios, goals and shares of the step; empty where the benchmark was not run."""
    if not path.exists():
        return {}
    said, rows = _read(path)
    found = comparisons(rows)
    entries = [one for one in found if "bandwidth" in one.info]
    return said | {
        "ours": entries[0].ours,
        "copy_rate": max(one.info["copy_rate"] for one in entries) / 1e9,
        "table": markdown_table(HEADER, map(_operator, entries)),
        "missed": "; ".join(text for one in entries for text in _missed(one)),
        "errors": _errors(entries),
        "step": _step([one for one in found if "share" in one.info]),
    }


def _operator(one: Comparison) -> list[str]:
    goals = one.info["goal"]
    ratios = ", ".join(_ratio(way, ratio, goals.get(way)) for way, ratio in one.ratio.items())
    flops = f"{one.info['gigaflops']:.0f}" if one.info.get("gigaflops") else ""
    taken = f"{one.milliseconds[one.ours]:.3f}"
    return [one.group, taken, ratios, f"{one.info['bandwidth']:.2f}", flops]


def _ratio(way: str, ratio: float, goal: float | None) -> str:
    """The bold one of a ratio and its goal is the one that says whether the goal is met."""
    if goal is None:
        return f"{way} {ratio:.1f}"
    return f"{way} **{ratio:.1f}** ({goal:g})" if ratio >= goal else f"{way} {ratio:.1f} (**{goal:g}**)"


def _missed(one: Comparison) -> list[str]:
    goals = {way: goal for way, goal in one.info["goal"].items() if one.ratio.get(way, goal) < goal}
    return [f"{one.group} against {way}, {one.ratio[way]:.2f} of {goal:g}" for way, goal in goals.items()]


def _errors(entries: Iterable[Comparison]) -> str:
    """The largest relative error of each way."""
    found = [one.info["relative_error"] for one in entries if "relative_error" in one.info]
    worst = {name: max(errors[name] for errors in found) for name in (found[0] if found else {})}
    return ", ".join(f"{name} {value:.1e}" for name, value in worst.items())


def _step(found: list[Comparison]) -> dict[str, Any]:
    """What prior, coupling, path and loss take of a training step, by who does them."""
    if not found:
        return {}
    ways = list(dict.fromkeys(way for one in found for way in one.milliseconds))
    rows = [
        [f"`{one.info['prior']}`", f"`{one.info['coupling']}`", *(_share(one, way) for way in ways)]
        for one in found
    ]
    info = found[0].info
    return {
        "network": info["network_seconds"] * 1e3,
        "how": info.get("how", "medians of calls in turn"),
        "table": markdown_table(["prior", "coupling", *ways], rows),
    }


def _share(one: Comparison, way: str) -> str:
    share = one.info["share"]
    return f"{one.milliseconds[way]:.2f} ms, {share[way]:.2%}" if way in share else "–"
