"""Restoring emoji: what differs from the study of Fashion-MNIST in what is measured and read off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.studies import Row, restoration
from flowprior.evaluation import sweep
from flowprior.evaluation.result import REAL_DATA
from flowprior.flow import Flow
from flowprior.study.table import DataFrame, means, select

SAMPLES, NFE = 1000, (0, 1, 4, 15)
TRAINING = "training"
DISTANCES = ("kid-lite0", "fid-lite0")
TASKS = {
    "emoji-super-resolution": "32 × 32 pixels from 8 × 8",
    "emoji-inpainting": restoration.TASKS["inpainting"],
}
SCORES: Mapping[str, str] = {**restoration.SCORES, "caption-top5-lite0": "%.3f", "nearest-q05": "%.2f"}
"""Whether a restoration shows what its caption says, and how near to training pictures the nearest are."""
BY_HEART: Mapping[str, str] = {name: restoration.SCORES[name] for name in ("crps", "psnr")}


def further_values(flow: Flow, cell: Any, data: Any) -> list[Row]:
    """Scores of restored training pictures, and the metrics of the prior's mean on 1,000 test pictures."""
    metrics = [*restoration.METRICS, "kid:subsets=10,subset_size=500", "image-text", "memorisation"]
    options = {"samples": SAMPLES, "metrics": metrics, "classifier": "none"}
    return [
        *of_training_pictures(flow, cell, data),
        *restoration.of_the_mean(flow, cell, data, **options),
    ]


def of_training_pictures(flow: Flow, cell: Any, data: Any) -> list[Row]:
    """Scores of two restorations of each of 500 training pictures by equal steps; their split is "training".

    What is worse on the test split than here was learned by heart.
    """
    found = sweep(
        flow,
        data.train,
        references={TRAINING: data.train},
        nfe=NFE,
        samplers=[restoration.EQUAL_STEPS],
        seeds=[cell.seed + 1000],
        samples=SAMPLES,
        members=2,
        metrics=list(BY_HEART),
        classifier="none",
        batch_size=restoration.BATCH,
    )
    own = {"flow": cell.variant.label, "seed": cell.seed}
    return [row | own for row in found.rows if row["metric"] in BY_HEART and row["flow"] != REAL_DATA]


def by_heart(table: DataFrame, metric: str) -> DataFrame:
    """A score on test pictures less that on training pictures: a row for each flow, a column for each NFE."""
    test, training = (
        means(select(table, sampler=restoration.EQUAL_STEPS), metric, split) for split in ("test", TRAINING)
    )
    return test - training
