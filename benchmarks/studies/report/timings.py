"""Timings of fits and pairings, from pytest-benchmark's JSON of ``benchmarks/operators``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.operators.comparison import comparisons, median
from benchmarks.studies.report.formatting import RESULTS, note, table

COMMAND = (
    "pytest benchmarks/operators/test_gmm_fit.py benchmarks/operators/test_gmm_memory.py "
    "benchmarks/operators/test_pairing.py "
    "--benchmark-only --benchmark-json benchmarks/results/benchmarks.json"
)


def benchmarks(path: Path = RESULTS / "benchmarks.json") -> str:
    """A table of what was timed, who did it and how long it took; nothing where it was not run."""
    if not path.exists():
        return ""
    report = json.loads(path.read_text())
    ratios = {one.group: one.ratio for one in comparisons(report["benchmarks"])}
    rows = [_row(row, ratios.get(row["group"], {})) for row in report["benchmarks"]]
    cpu = report["machine_info"]["cpu"].get("brand_raw", "CPU")
    return (
        f"## Timings\n\n`{COMMAND}`, two threads of a shared {cpu}; a ratio is that of medians in the same "
        "run, above 1 ours is faster; absolute times mean little. Held-out log-densities are means over "
        f"pictures.{note(report)}\n\n" + table(["what", "who", "median", "ratio", "beside it"], rows)
    )


def _row(row: dict[str, Any], ratios: dict[str, float]) -> list[str]:
    info = row["extra_info"]
    way = info["way"]
    notes = (f"{name} {_number(value)}" for name, value in info.get("notes", {}).items())
    return [
        row["group"].replace(" x ", " × "),
        way,
        f"{median(row) * 1e3:,.1f} ms" if row["stats"] else "–",
        f"{ratios[way]:.1f}" if way in ratios else "",
        ", ".join(notes),
    ]


def _number(value: float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}"
