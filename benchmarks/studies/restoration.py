"""What the mean of a designed start is worth alone, as the restoration that most people would try first."""

from __future__ import annotations

from typing import Any

from benchmarks.studies import CLASSIFIERS, Row
from flowprior.evaluation import sweep
from flowprior.evaluation.result import REAL_DATA
from flowprior.flow import Flow

SAMPLES, BATCH = 2000, 250
ALONE = "-alone"
"""How the names of these metrics end."""
METRICS = ["fid", "crps", "energy-score", "psnr", "ssim", "consistency"]


def values_of_the_mean(flow: Flow, cell: Any, data: Any) -> list[Row]:
    """The metrics of the prior's mean, one sample of each of 2,000 conditions; nothing of N(0, I).

    Their names end in ``-alone``, for they are over other conditions than those of the study.
    """
    if flow.prior.is_standard_normal:
        return []
    found = sweep(
        flow,
        data.train,
        reference=data.test,
        nfe=[0],
        samplers=["euler:temperature=0"],
        seeds=[cell.seed + 1000],
        samples=SAMPLES,
        metrics=METRICS,
        features=["lite0"],
        classifier=str(CLASSIFIERS / "fashion-mnist-train55000-3e318618.safetensors"),
        batch_size=BATCH,
    )
    label = f"{cell.variant.label}, mean"
    kept = [row for row in found.rows if row["nfe"] == 0 and row["flow"] != REAL_DATA]
    own = {"flow": label, "seed": cell.seed}
    return [row | own | {"metric": f"{row['metric']}{ALONE}"} for row in kept]
