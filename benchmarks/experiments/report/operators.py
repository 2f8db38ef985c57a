"""The section on the native operators' timings, from the JSON of ``benchmarks/test_ops.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.experiments.report.formatting import RESULTS


def operators(path: Path = RESULTS / "operators.json") -> str:
    """A table of ratios and goals; nothing where the benchmark was not run."""
    if not path.exists():
        return ""
    report = json.loads(path.read_text())
    entries = [entry for entry in report["benchmarks"] if "ratio" in entry["extra_info"]]
    machine = report["machine_info"]["cpu"].get("brand_raw", "CPU")
    backend = entries[0]["extra_info"]["backend"]
    copy = max(_copy_rate(entry) for entry in entries)
    lines = ["| operator | B × D | K | ms | ratio to (goal) | share of copy bandwidth | Gflop/s |"]
    lines += ["|---|---|---|---|---|---|---|", *(_row(entry) for entry in entries)]
    missed = [text for entry in entries for text in _missed(entry)]
    return "\n".join([
        "## Native operators",
        "",
        "`FLOWPRIOR_OPS=native pytest benchmarks/test_ops.py -p benchmark`: float32, ten conditions, two "
        f"threads of a shared {machine}, backend `{backend}`. Ours, each peer and "
        f"a plain copy ({copy:.0f} GB/s read and written) take turns of ten calls; a ratio is that of the "
        "medians, above 1 ours is faster. The share of copy bandwidth is what the operator must at least "
        "read and write over its time; sampling is bound by the generator's arithmetic, densities by theirs "
        "(four operations a term).",
        "",
        *lines,
        "",
        "Short of the goal: " + "; ".join(missed) + "." if missed else "Every goal is met.",
        *_errors(entries),
        *_step_shares([entry for entry in report["benchmarks"] if "share" in entry["extra_info"]]),
        "",
        "On a GPU: not run, none was available.",
    ])  # fmt: skip


def _name(entry: dict[str, Any]) -> str:
    return entry["name"].split("[")[0].removeprefix("test_")


def _copy_rate(entry: dict[str, Any]) -> float:
    """GB/s of the copy in the entry's own run."""
    return entry["extra_info"].get("copy_rate", 0.0) / 1e9


def _row(entry: dict[str, Any]) -> str:
    info, parameters = entry["extra_info"], entry["params"]
    ratios = [
        f"{name} **{ratio:.1f}** ({info['goal'][name]:g})"
        if ratio >= info["goal"][name]
        else f"{name} {ratio:.1f} (**{info['goal'][name]:g}**)"
        for name, ratio in info["ratio"].items()
    ]
    work = f"{info['gigaflops']:.0f}" if info["gigaflops"] else ""
    cells = [
        f"`{_name(entry)}`",
        f"{parameters['batch']} × {parameters['dim']}",
        str(parameters.get("components", "")),
        f"{info['milliseconds']['ours']:.3f}",
        ", ".join(ratios),
        f"{info['bandwidth']:.2f}",
        work,
    ]
    return "| " + " | ".join(cells) + " |"


def _missed(entry: dict[str, Any]) -> list[str]:
    info, parameters = entry["extra_info"], entry["params"]
    size = f"{parameters['batch']} × {parameters['dim']}"
    size += f", K = {parameters['components']}" if "components" in parameters else ""
    return [
        f"`{_name(entry)}` at {size} against {name}, {ratio:.2f} of {info['goal'][name]:g}"
        for name, ratio in info["ratio"].items()
        if ratio < info["goal"][name]
    ]


def _step_shares(entries: list[dict[str, Any]]) -> list[str]:
    """What prior, coupling, path and loss take of a training step, by who does them."""
    if not entries:
        return []
    ways = ("eager", "fallback", "native")
    lines = [f"| prior | coupling | {' | '.join(ways)} |", "|---|---|---|---|---|"]
    for entry in entries:
        info = entry["extra_info"]
        cells = [
            f"{info['milliseconds'][way]:.2f} ms, {info['share'][way]:.2%}" if way in info["share"] else "–"
            for way in ways
        ]
        lines.append(f"| `{info['prior']}` | `{info['coupling']}` | {' | '.join(cells)} |")
    network = entries[0]["extra_info"]["network_seconds"] * 1e3
    return [
        "",
        "Prior, coupling, path and loss with its gradient, for a batch of 128 pictures of 28 × 28, and "
        f"their share of a training step whose network takes {network:.0f} ms, in float32 "
        "(`benchmarks/test_step.py`; the least of two runs' medians, for each way alike). Eager is torch "
        "alone: `randn`, or mean + std · `randn` of the class, the straight path and the squared error "
        "written out. Fallback and native are flowprior without and with its native operators.",
        "",
        *lines,
    ]


def _errors(entries: list[dict[str, Any]]) -> list[str]:
    found = [
        entry["extra_info"]["relative_error"] for entry in entries if "relative_error" in entry["extra_info"]
    ]
    if not found:
        return []
    worst = {name: max(errors[name] for errors in found) for name in found[0]}
    listed = ", ".join(f"{name} {value:.1e}" for name, value in worst.items())
    return ["", f"Largest relative error of the all-conditions log-density against float64: {listed}."]
