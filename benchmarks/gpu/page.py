"""What the page of results says of the files that cards left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.gpu.record import DONE, REHEARSED
from benchmarks.gpu.steps import STEPS
from flowprior.report.markdown import markdown_table

Run = dict[str, Any]


def read(folder: Path) -> list[Run]:
    """The runs on cards, by the cards' names; a rehearsal is none."""
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    return [_with_tables(run) for run in runs if run["card"] is not None]


def _with_tables(run: Run) -> Run:
    """The run with its steps by name, and the tables of those that found something."""
    steps = {step["name"]: step for step in run["steps"]}
    found = {step.name: {} for step in STEPS}
    found |= {name: step["values"] for name, step in steps.items() if step["status"] != REHEARSED}
    return run | {
        "overview": _overview(run["steps"]),
        "operators": _operators(found["operators"]),
        "profile": _profile(found["profile"]),
        "training": _training(found["training"]),
        "found": found,
    }


def _overview(steps: list[Run]) -> str:
    """Every step, how it ended, and what stopped it where something did."""
    rows = [
        [f"`{step['name']}`", step["does"], _end(step), f"{step['seconds']:.0f}", _in_a_line(step["error"])]
        for step in steps
    ]
    return markdown_table(["step", "what it does", "how it ended", "seconds", "why"], rows)


def _end(step: Run) -> str:
    return step["status"] if step["status"] == DONE else f"**{step['status']}**"


def _in_a_line(error: str | None) -> str:
    return "" if error is None else " ".join(error.replace("|", "/").split())[-200:]


def _operators(values: Run) -> str | None:
    if not values.get("rows"):
        return None
    rows = []
    for row in values["rows"]:
        peers = ", ".join(f"{way} {taken / row['milliseconds']:.1f}" for way, taken in row["peers"].items())
        times = [_microseconds(row[name]) for name in ("milliseconds", "replayed")]
        size = row["size"].replace(" x ", " × ")
        rows.append([row["operator"], size, *times, f"{row['share_of_copy']:.2f}", peers])
    header = ["operator", "size", "µs", "µs, replayed", "share of copy rate", "time of others over ours"]
    return markdown_table(header, rows)


def _microseconds(milliseconds: float | None) -> str | None:
    return None if milliseconds is None else f"{milliseconds * 1e3:.1f}"


def _profile(values: Run) -> str | None:
    if not values.get("designs"):
        return None
    rows = []
    for name, design in values["designs"].items():
        total = sum(design["device"].values()) or 1.0
        shares = {part: f"{part} {taken / total:.1%}" for part, taken in design["device"].items()}
        whole = [f"{design['milliseconds']:.2f}", f"{design['busy']:.2f}", f"{design['idle']:.0%}"]
        rows.append([f"`{name}`", *whole, ", ".join(shares.values())])
    return markdown_table(
        ["design", "ms a step", "ms of kernels", "GPU idle", "shares of the kernels' time"], rows
    )


def _training(values: Run) -> str | None:
    designs = {name: one for name, one in values.get("designs", {}).items() if "distances" in one}
    if not designs:
        return None
    nfes = list(next(iter(next(iter(designs.values()))["distances"].values())))
    rows = []
    for name, design in designs.items():
        for metric, own in design["distances"].items():
            cells = [_beside(own[nfe], _baseline(values, metric, nfe, name)) for nfe in nfes]
            taken = [f"{design[key]:.1f}" for key in ("seconds", "prior_fit_seconds")]
            rows.append([f"`{name}`", *taken, metric, *cells])
    header = ["design", "seconds", "of these the prior's fit", "distance"]
    named = [nfe if nfe == "real data" else f"NFE {nfe}" for nfe in nfes]
    return markdown_table([*header, *named], rows)


def _baseline(values: Run, metric: str, nfe: str, name: str) -> float | None:
    """The baseline's value, which another design's is set beside; of real data there is no other."""
    if name == values["baseline"] or nfe == "real data":
        return None
    return values["designs"].get(values["baseline"], {}).get("distances", {}).get(metric, {}).get(nfe)


def _beside(value: float | None, baseline: float | None) -> str | None:
    if value is None:
        return None
    return f"{value:.3g}" if not baseline else f"{value:.3g} ({value / baseline:.2f})"
