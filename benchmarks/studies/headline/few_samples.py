"""What a trained flow remembers, and the scores of 2,000 of its samples, beside those of the headline study.

values = "benchmarks.studies.headline.few_samples:values"
"""

from __future__ import annotations

from typing import Any

from benchmarks.studies import Row, closed_form
from flowprior import evaluate
from flowprior.evaluation.result import REAL_DATA
from flowprior.flow import Flow

SAMPLES = 2000
NFES = (1, 4, 15)
METRICS = ("fid", "precision-recall", "memorisation", "c2st")
FEW = {"fid-cnn128": "fid-2000-cnn128", "fid-lite0": "fid-2000-lite0"}
"""The names of the distances of so few samples, beside which those of all stand in the same table."""


def values(flow: Flow, run: Any, data: Any) -> list[Row]:
    """Return :data:`METRICS` of 2,000 samples, and how far the velocity is from that in closed form."""
    grid = run.grid
    found = evaluate(
        flow,
        data.train,
        reference=data.test,
        nfe=NFES,
        sampler=run.variant.specs,
        seed=run.seed + grid.evaluation_seed,
        samples=SAMPLES,
        conditions=grid.conditions,
        **{**grid.evaluation, "metrics": METRICS},
    )
    known = {"flow": run.variant.label, "seed": run.seed}
    rows = [
        row | {"metric": FEW.get(row["metric"], row["metric"])} | ({} if row["flow"] == REAL_DATA else known)
        for row in found.rows
        if row["split"] == "test"  # not the seconds of sampling
    ]
    return rows + closed_form.values(flow, run, data)
