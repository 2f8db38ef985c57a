"""The section on the operators' timings, from pytest-benchmark's JSON of ``benchmarks/operators``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.operators.comparison import Comparison, comparisons
from benchmarks.studies.report.formatting import RESULTS, note, table

COMMAND = (
    "pytest benchmarks/operators/test_mixtures.py benchmarks/operators/test_paths.py "
    "benchmarks/operators/test_step.py --benchmark-only --benchmark-json benchmarks/results/operators.json"
)
HEADER = ["operator and size", "ms", "ratio to (goal)", "share of copy bandwidth", "Gflop/s"]


def operators(path: Path = RESULTS / "operators.json") -> str:
    """Tables of ratios, goals and shares of the step; nothing where the benchmark was not run."""
    if not path.exists():
        return ""
    report = json.loads(path.read_text())
    found = comparisons(report["benchmarks"])
    entries = [one for one in found if "bandwidth" in one.info]
    machine = report["machine_info"]["cpu"].get("brand_raw", "CPU")
    copy = max(one.info["copy_rate"] for one in entries) / 1e9
    missed = [text for one in entries for text in _missed(one)]
    return "\n".join([
        "## Native operators",
        "",
        f"`{COMMAND}`: float32, ten conditions, two threads of a shared {machine}, {entries[0].ours}. Ours, "
        f"each peer and a plain copy (up to {copy:.0f} GB/s read and written) take turns; a ratio is that of "
        "the medians, above 1 ours is faster. The share of copy bandwidth is what the operator must at least "
        "read and write over its time; sampling is bound by the generator's arithmetic, densities by theirs "
        "(four operations a term). Eager is a composition of torch's own operators as one writes it today."
        + note(report),
        "",
        table(HEADER, [_row(one) for one in entries]),
        "",
        "Short of the goal: " + "; ".join(missed) + "." if missed else "Every goal is met.",
        *_errors(entries),
        *_step_shares([one for one in found if "share" in one.info]),
        "",
        "On a GPU: not run, none was available.",
    ])  # fmt: skip


def _name(one: Comparison) -> str:
    return one.group.replace(" x ", " × ")


def _row(one: Comparison) -> list[str]:
    goals = one.info["goal"]
    return [
        _name(one),
        f"{one.milliseconds[one.ours]:.3f}",
        ", ".join(_ratio(way, ratio, goals.get(way)) for way, ratio in one.ratio.items()),
        f"{one.info['bandwidth']:.2f}",
        f"{one.info['gigaflops']:.0f}" if one.info.get("gigaflops") else "",
    ]


def _ratio(way: str, ratio: float, goal: float | None) -> str:
    """The bold one of a ratio and its goal is the one that says whether the goal is met."""
    if goal is None:
        return f"{way} {ratio:.1f}"
    return f"{way} **{ratio:.1f}** ({goal:g})" if ratio >= goal else f"{way} {ratio:.1f} (**{goal:g}**)"


def _missed(one: Comparison) -> list[str]:
    goals = {way: goal for way, goal in one.info["goal"].items() if way in one.ratio}
    return [
        f"{_name(one)} against {way}, {one.ratio[way]:.2f} of {goal:g}"
        for way, goal in goals.items()
        if one.ratio[way] < goal
    ]


def _step_shares(found: list[Comparison]) -> list[str]:
    """What prior, coupling, path and loss take of a training step, by who does them."""
    if not found:
        return []
    ways = list(dict.fromkeys(way for one in found for way in one.milliseconds))
    rows = []
    for one in found:
        share = one.info["share"]
        cells = [f"{one.milliseconds[way]:.2f} ms, {share[way]:.2%}" if way in share else "–" for way in ways]
        rows.append([f"`{one.info['prior']}`", f"`{one.info['coupling']}`", *cells])
    network = found[0].info["network_seconds"] * 1e3
    how = found[0].info.get("how", "medians of calls in turn")
    return [
        "",
        "Prior, coupling, path and loss with its gradient, for a batch of 128 pictures of 28 × 28, and "
        f"their share of a training step whose network takes {network:.0f} ms, in float32 "
        f"(`benchmarks/operators/test_step.py`; {how}). Eager is torch "
        "alone: `randn`, or mean + std · `randn` of the class, the straight path and the squared error "
        "written out. Fallback and native are flowprior without and with its native operators.",
        "",
        table(["prior", "coupling", *ways], rows),
    ]


def _errors(entries: list[Comparison]) -> list[str]:
    found: list[dict[str, Any]] = [
        one.info["relative_error"] for one in entries if "relative_error" in one.info
    ]
    if not found:
        return []
    worst = {name: max(errors[name] for errors in found) for name in found[0]}
    listed = ", ".join(f"{name} {value:.1e}" for name, value in worst.items())
    return ["", f"Largest relative error of the all-conditions log-density against float64: {listed}."]
