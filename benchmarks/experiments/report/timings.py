"""Timings of pytest-benchmark."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.experiments.report.formatting import RESULTS, table


def _figures(info: dict[str, Any]) -> str:
    parts = (
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in info.items()
    )
    return ", ".join(parts)


def benchmarks() -> str:
    """The section on timings, from pytest-benchmark's JSON."""
    path = RESULTS / "benchmarks.json"
    if not path.exists():
        return ""
    report = json.loads(path.read_text())
    rows = [
        [f"`{entry['name']}`", f"{entry['stats']['median'] * 1e3:.1f} ms", _figures(entry["extra_info"])]
        for entry in report["benchmarks"]
    ]
    cpu = report["machine_info"]["cpu"].get("brand_raw", "CPU")
    return (
        f"## Timings\n\n`make bench`, two threads of a shared {cpu}; ratios are taken in the same run, "
        "absolute times mean little.\n\n" + table(["benchmark", "median", "figures"], rows)
    )
