"""Classifier-free guidance of a flow, alone and with guidance by the prior, to be held against the latter."""

from __future__ import annotations

from typing import Any

from benchmarks.studies import FASHION_CLASSIFIER, Row
from flowprior.evaluation import sweep
from flowprior.evaluation.result import REAL_DATA
from flowprior.flow import Flow

STRENGTHS = (1.25, 1.5, 2.0, 3.0)
NFES = (1, 4, 15)
SAMPLES, BATCH = 2000, 250


def with_classifier_free_guidance(flow: Flow, cell: Any, data: Any) -> list[Row]:
    """Fréchet distances and accuracy under classifier-free guidance of several strengths."""
    found = sweep(
        flow,
        data.train,
        reference=data.test,
        nfe=NFES,
        samplers=["euler:grid=last,at=0.7"],
        guidances=STRENGTHS,
        seeds=[cell.seed + 1000],
        samples=SAMPLES,
        conditions="balanced",
        metrics=["fid", "accuracy"],
        features=["lite0"],
        classifier=str(FASHION_CLASSIFIER),
        batch_size=BATCH,
    )
    kept = [row for row in found.rows if row["nfe"] in NFES and row["flow"] != REAL_DATA]
    return [row | {"flow": cell.variant.label, "seed": cell.seed} for row in kept]
