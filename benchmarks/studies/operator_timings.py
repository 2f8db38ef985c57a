"""What the page says of the timings in ``benchmarks/operators``, from pytest-benchmark's JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.operators.comparison import Comparison, comparisons, median
from flowprior.report.markdown import markdown_table

HEADER = ["operator and size", "ms", "ratio to (goal)", "share of copy bandwidth", "Gflop/s"]


def timings(path: Path) -> dict[str, str]:
    """Fits and pairings: what was timed, who did it, how long it took; empty where it was not run."""
    if not path.exists():
        return {}
    report = json.loads(path.read_text(encoding="utf-8"))
    ratios = {one.group: one.ratio for one in comparisons(report["benchmarks"])}
    rows = [_timing(row, ratios.get(row["group"], {})) for row in report["benchmarks"]]
    header = ["what", "who", "median", "ratio", "beside it"]
    return _machine(report) | {"table": markdown_table(header, rows)}


def _machine(report: dict[str, Any]) -> dict[str, str]:
    """The processor, and what the file says of itself."""
    return {"machine": report["machine_info"]["cpu"].get("brand_raw", "CPU"), "note": report.get("note", "")}


def _timing(row: dict[str, Any], ratios: dict[str, float]) -> list[str]:
    info = row["extra_info"]
    way = info["way"]
    notes = (
        f"{name} {f'{value:.4g}' if isinstance(value, float) else f'{value:,}'}"
        for name, value in info.get("notes", {}).items()
    )
    taken = f"{median(row) * 1e3:,.1f} ms" if row["stats"] else "–"
    ratio = f"{ratios[way]:.1f}" if way in ratios else ""
    return [_times(row["group"]), way, taken, ratio, ", ".join(notes)]


def _times(group: str) -> str:
    return group.replace(" x ", " × ")


def operators(path: Path) -> dict[str, Any]:
    """Ratios, goals and shares of the step; empty where the benchmark was not run."""
    if not path.exists():
        return {}
    report = json.loads(path.read_text(encoding="utf-8"))
    found = comparisons(report["benchmarks"])
    entries = [one for one in found if "bandwidth" in one.info]
    missed = [text for one in entries for text in _missed(one)]
    return _machine(report) | {
        "ours": entries[0].ours,
        "copy_rate": max(one.info["copy_rate"] for one in entries) / 1e9,
        "table": markdown_table(HEADER, map(_operator, entries)),
        "missed": "; ".join(missed),
        "errors": _errors(entries),
        "step": _step([one for one in found if "share" in one.info]),
    }


def _operator(one: Comparison) -> list[str]:
    goals = one.info["goal"]
    ratios = ", ".join(_ratio(way, ratio, goals.get(way)) for way, ratio in one.ratio.items())
    flops = f"{one.info['gigaflops']:.0f}" if one.info.get("gigaflops") else ""
    taken = f"{one.milliseconds[one.ours]:.3f}"
    return [_times(one.group), taken, ratios, f"{one.info['bandwidth']:.2f}", flops]


def _ratio(way: str, ratio: float, goal: float | None) -> str:
    """The bold one of a ratio and its goal is the one that says whether the goal is met."""
    if goal is None:
        return f"{way} {ratio:.1f}"
    return f"{way} **{ratio:.1f}** ({goal:g})" if ratio >= goal else f"{way} {ratio:.1f} (**{goal:g}**)"


def _missed(one: Comparison) -> list[str]:
    goals = {way: goal for way, goal in one.info["goal"].items() if one.ratio.get(way, goal) < goal}
    return [
        f"{_times(one.group)} against {way}, {one.ratio[way]:.2f} of {goal:g}" for way, goal in goals.items()
    ]


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
