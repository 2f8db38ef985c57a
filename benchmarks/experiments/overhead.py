"""What fitting and keeping a prior costs, against the number of conditions and of dimensions.

    python -m benchmarks.experiments.overhead

Experiment 7 of issue 4. Rows of noisy waves are streamed: 200,000 of 64 numbers while conditions grow from
10 to 100,000, and 4,000 while dimensions grow from 784 to 12,288 under ten conditions. Every figure comes
from a process of its own, one thread; the peak is what the fit holds above what the process held before it.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import typer

from benchmarks.experiments.store import Cell, Store

STORE = Store("overhead")
CONDITIONS = (10, 100, 1_000, 10_000, 100_000)
DIMENSIONS = (784, 1_568, 3_072, 6_144, 12_288)
BY_CONDITIONS = {"dims": 64, "rows": 200_000}
BY_DIMENSIONS = {"conditions": 10, "rows": 4_000}
LIMIT = 300  # seconds
PRIORS = {
    "gaussian": "gaussian:moments=diagonal",
    "gmm": "gmm:shrinkage=1.0",
    "gmm, K = 4": "gmm:components=4,shrinkage=1.0",
    "gmm, low rank 8": "gmm:covariance=lowrank,rank=8,shrinkage=1.0",
    "gmm, full": "gmm:covariance=full,shrinkage=1.0",
    "latent-gmm": "latent-gmm:rank=8",
    "learned-mean": "learned-mean:epochs=1",
    "vae": "vae:steps=100",
    "flow": "flow:rank=16,steps=100",
}
MOST_STATE = 2 << 30
"""Bytes of full covariances above which a cell is not run on this machine."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def run_cell(spec: str, conditions: int, dims: int, rows: int) -> Cell:
    """Measure in a process of its own; ``failed`` says why there are no figures."""
    if "full" in spec and conditions * dims**2 * 4 > MOST_STATE:
        return {"failed": f"full covariances would take {conditions * dims**2 * 4 / 2**30:.0f} GiB"}
    command = [sys.executable, "-m", "benchmarks.experiments.overhead_probe"]
    command += [spec, str(conditions), str(dims), str(rows)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired:
        return {"failed": f"not done after {LIMIT} s"}
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["no message"])[-1]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def plan() -> list[dict[str, Any]]:
    """Every cell: along the conditions, then along the dimensions."""
    along = [{"axis": "conditions", "conditions": c, **BY_CONDITIONS} for c in CONDITIONS]
    along += [{"axis": "dims", "dims": d, **BY_DIMENSIONS} for d in DIMENSIONS]
    return [{"prior": name, "spec": spec, **place} for name, spec in PRIORS.items() for place in along]


def slope(sizes: list[float], costs: list[float]) -> float | None:
    """Exponent p of cost ∝ size^p by least squares of the logarithms; None below two positive costs."""
    points = [(math.log(s), math.log(c)) for s, c in zip(sizes, costs, strict=True) if c > 0]
    if len(points) < 2:
        return None
    x, y = (sum(values) / len(points) for values in zip(*points, strict=True))
    return sum((a - x) * (b - y) for a, b in points) / sum((a - x) ** 2 for a, _ in points)


@app.command()
def main(only: str = typer.Option("", help="one of: " + ", ".join(PRIORS))) -> None:
    """Run every cell that has no result yet."""
    for cell in plan():
        if only not in ("", cell["prior"]):
            continue
        arguments = (cell["spec"], cell["conditions"], cell["dims"], cell["rows"])
        key = f"{cell['prior']}-{cell['conditions']}x{cell['dims']}"
        found = STORE.run(key, lambda a=arguments: run_cell(*a), **cell)
        shown = found.get("failed") or (
            f"fit {found['fit_seconds']:.2f} s, peak {found['fit_peak_bytes'] / 2**20:.0f} MiB, "
            f"keeps {found['state_bytes'] / 2**20:.1f} MiB"
        )
        typer.echo(f"{cell['prior']}, {cell['conditions']} conditions, {cell['dims']} dimensions: {shown}")


if __name__ == "__main__":
    app()
