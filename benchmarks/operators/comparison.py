"""What a run of the benchmarks says once its rows stand beside each other: in the terminal, and on a page."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.operators.groups import FALLBACK, NATIVE, WHOLE
from flowprior.display.shown import markdown_table
from flowprior.report.wording import duration, number

OWN = (NATIVE, WHOLE, FALLBACK)
RATIOS = "Ratios: the time of each way over ours, the calls taking turns; above 1 flowprior is faster"
SHARES = "Share of the training step: what prior, coupling, path and loss take beside the network"


@dataclass
class Comparison:
    """A group: the milliseconds of each way, of calls in turn where there are such, else of the rows."""

    group: str
    ours: str
    milliseconds: dict[str, float]
    info: Mapping[str, Any]

    @property
    def ratio(self) -> dict[str, float]:
        """Each other way's time over ours, above 1 where we are faster."""
        own = self.milliseconds[self.ours]
        return {way: value / own for way, value in self.milliseconds.items() if way != self.ours}


def comparisons(rows: Iterable[Mapping[str, Any]]) -> list[Comparison]:
    """A comparison for each group in which flowprior and another way ran, in the order of the rows."""
    groups: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        if "way" in row["extra_info"]:
            groups.setdefault(row["group"], {})[row["extra_info"]["way"]] = row
    found = []
    for group, ways in groups.items():
        if ours := next((way for way in OWN if way in ways), None):
            info = ways[ours]["extra_info"]
            milliseconds = info.get("milliseconds") or {way: median(row) for way, row in ways.items()}
            found.append(Comparison(group, ours, milliseconds, info))
    return [one for one in found if one.ratio or "bandwidth" in one.info]


def median(row: Mapping[str, Any]) -> float:
    """Median milliseconds of a row, flat or as in the JSON."""
    return float(row.get("stats", row)["median"]) * 1e3


def step_table(steps: list[Comparison], show: Callable[[float], str]) -> list[list[str | None]]:
    """Prior, coupling, and by each way the time and the share of the training step, below a header."""
    ways = list(dict.fromkeys(way for one in steps for way in one.milliseconds))
    lines: list[list[str | None]] = [["prior", "coupling", *ways]]
    for info, taken in ((one.info, one.milliseconds) for one in steps):
        cells = (f"{show(taken[way])}, {info['share'][way]:.2%}" if way in taken else None for way in ways)
        lines.append([info["prior"], info["coupling"], *cells])
    return lines


# -- in the terminal ------------------------------------------------------------------------------------


def closing_tables(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Lines of both tables; none of a table without rows."""
    found = comparisons(rows)
    steps = [one for one in found if "share" in one.info]
    ratios = [_ratio_line(one) for one in found if "share" not in one.info]
    lines = ["", RATIOS] if ratios else []
    if ratios:
        lines += _aligned([["group", "ours", "copy bandwidth", "ratios"], *ratios])
    if steps:
        (_, _, *ways), *table = step_table(steps, lambda milliseconds: duration(milliseconds / 1e3))
        shares = ([f"{prior} + {coupling}", *cells] for prior, coupling, *cells in table)
        lines += ["", f"{SHARES}, which takes {duration(steps[0].info['network_seconds'])}"]
        lines += _aligned([["a step of 128 pictures", *ways], *shares])
    return lines


def _ratio_line(one: Comparison) -> list[str | None]:
    bandwidth = f"{one.info['bandwidth']:.0%}" if "bandwidth" in one.info else "-"
    ratios = ", ".join(f"{way} {number(ratio)}" for way, ratio in one.ratio.items())
    own = f"{one.ours.removeprefix('flowprior ')} {duration(one.milliseconds[one.ours] / 1e3)}"
    return [one.group, own, bandwidth, ratios]


def _aligned(lines: Iterable[Sequence[str | None]]) -> list[str]:
    cells = [[cell or "-" for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]


# -- on the page of results --------------------------------------------------------------------------------


def full_size(path: Path) -> dict[str, str]:
    """Fits of a prior with a shared basis: seconds, memory, and a draw; empty where it was not run."""
    if not path.exists():
        return {}
    said, rows = _read(path)
    lines = []
    for row in rows:
        notes, draw = row["extra_info"]["notes"], row["extra_info"].get("sample")
        ratio = f"{draw['sample'] / draw['randn']:.1f}" if draw else None
        own = [f"{notes['seconds']:.0f}", f"{notes['peak']:,}", f"{notes['state']:.0f}", f"`{notes['law']}`"]
        lines.append([row["group"], *own, ratio])
    header = ["what", "seconds", "peak MiB", "state MB", "law", "draw of 256 over `torch.randn`"]
    return said | {"table": markdown_table(header, lines)}


def whole_steps(path: Path) -> dict[str, str]:
    """Whole training steps, and what of them lies around the network; empty where it was not run."""
    if not path.exists():
        return {}
    said, rows = _read(path)
    found = comparisons(rows)
    around = [
        [
            one.group.removeprefix(AROUND),
            _microseconds(one),
            f"{one.info['network_milliseconds']:.2f}",
            _goals(one),
        ]
        for one in found
        if one.group.startswith(AROUND)
    ]
    whole = [
        [one.group, f"{one.milliseconds[one.ours]:.2f}", _goals(one)]
        for one in found
        if not one.group.startswith(AROUND)
    ]
    return said | {
        "around": markdown_table(
            ["a step", "µs of ours", "the network, ms", "time of others over ours (goal)"], around
        ),
        "whole": markdown_table(["what", "ms of ours", "time of others over ours"], whole),
    }


AROUND = "around the network in "


def _microseconds(one: Comparison) -> str:
    return f"{one.milliseconds[one.ours] * 1e3:.0f}"


def _goals(one: Comparison) -> str:
    goals = one.info.get("goal", {})
    ratios = one.info.get("ratio", one.ratio)
    return ", ".join(_ratio(way, ratio, goals.get(way)) for way, ratio in ratios.items())


def _read(path: Path) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """What a file says of itself and of its processor; its rows, their groups with a sign of times."""
    report = json.loads(path.read_text(encoding="utf-8"))
    processor = report["machine_info"]["cpu"].get("brand_raw", "CPU")
    rows = [row | {"group": row["group"].replace(" x ", " × ")} for row in report["benchmarks"]]
    return {"machine": processor, "note": report.get("note", "")}, rows


def operators(path: Path) -> dict[str, str]:
    """Times, ratios and goals of the operators; empty where the benchmark was not run."""
    if not path.exists():
        return {}
    said, rows = _read(path)
    entries = [one for one in comparisons(rows) if "bandwidth" in one.info]
    header = ["operator and size", "ms", "ratio to (goal)", "share of copy bandwidth", "Gflop/s"]
    return said | {"table": markdown_table(header, map(_operator, entries))}


def _operator(one: Comparison) -> list[str]:
    goals = one.info["goal"]
    ratios = ", ".join(_ratio(way, ratio, goals.get(way)) for way, ratio in one.ratio.items())
    flops = f"{one.info['gigaflops']:.0f}" if one.info.get("gigaflops") else ""
    taken = f"{one.milliseconds[one.ours]:.3f}"
    return [one.group, taken, ratios, f"{one.info['bandwidth']:.2f}", flops]


def _ratio(way: str, ratio: float, goal: float | None) -> str:
    """The bold one of a ratio and its goal is the one that says whether the goal is met."""
    shown = f"{ratio:.1f}" if ratio >= 1 else f"{ratio:.2f}"
    if goal is None:
        return f"{way} {shown}"
    return f"{way} **{shown}** ({goal:g})" if ratio >= goal else f"{way} {shown} (**{goal:g}**)"
