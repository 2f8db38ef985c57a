"""What fitting and keeping a prior costs, against the number of conditions and of dimensions.

    python -m benchmarks.studies.overhead

Rows of noisy waves are streamed: 100,000 of 64 numbers while conditions grow from
10 to 100,000, and 2,000 while dimensions grow from 784 to 12,288 under ten conditions. Every figure comes
from a process of its own, one thread; the peak is what the fit holds above what the process held before it.
"""

from __future__ import annotations

import math
from typing import Any

import typer

from benchmarks.studies.overhead_probe import measure_apart
from benchmarks.studies.store import Store

STORE = Store("overhead")
CONDITIONS = (10, 100, 1_000, 10_000, 100_000)
DIMENSIONS = (784, 3_072, 12_288)
BY_CONDITIONS = {"dims": 64, "rows": 100_000}
BY_DIMENSIONS = {"conditions": 10, "rows": 2_000}
LIMIT = 60  # seconds of processor time
PRIORS = {
    "gaussian": "gaussian:moments=diagonal",
    "gmm": "gmm:shrinkage=1.0",
    "gmm, K = 4": "gmm:components=4,shrinkage=1.0,max_iter=5",
    "gmm, low rank 8": "gmm:covariance=lowrank,rank=8,shrinkage=1.0",
    "gmm, full": "gmm:covariance=full,shrinkage=1.0",
    "latent-gmm": "latent-gmm:rank=8,components=4,max_iter=5",
    "learned-mean": "learned-mean:epochs=1",
    "vae": "vae:steps=50",
    "flow": "flow:rank=16,steps=50",
}
"""Steps and iterations of the trained ones are few: their growth is asked for, not their quality."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


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


def run_axis(cells: list[dict[str, Any]]) -> None:
    """Run the cells of one prior along one axis; after one that took too long, larger ones are not tried."""
    late = ""
    for cell in cells:
        arguments = (cell["spec"], cell["conditions"], cell["dims"], cell["rows"])
        key = f"{cell['prior']}-{cell['conditions']}x{cell['dims']}"
        reason = {"failed": late}
        found = STORE.run(
            key,
            lambda a=arguments, r=reason: r if r["failed"] else measure_apart(*a, LIMIT),
            **cell,
        )
        if "not done" in found.get("failed", ""):
            late = "not tried: the next smaller was not done in time"
        shown = found.get("failed") or (
            f"fit {found['fit_seconds']:.2f} s, peak {found['fit_peak_bytes'] / 2**20:.0f} MiB, "
            f"keeps {found['state_bytes'] / 2**20:.1f} MiB"
        )
        typer.echo(f"{cell['prior']}, {cell['conditions']} conditions, {cell['dims']} dimensions: {shown}")


@app.command()
def main(
    only: str = typer.Option("", help="one of: " + ", ".join(PRIORS)),
    axis: str = typer.Option("", help="conditions or dims"),
) -> None:
    """Run every cell that has no result yet."""
    for name in PRIORS:
        for growing in ("conditions", "dims"):
            if only in ("", name) and axis in ("", growing):
                run_axis([cell for cell in plan() if (cell["prior"], cell["axis"]) == (name, growing)])


if __name__ == "__main__":
    app()
