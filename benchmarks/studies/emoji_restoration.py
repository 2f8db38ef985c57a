"""Restoring emoji: what differs from the study of Fashion-MNIST in what is measured and read off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas

from benchmarks.studies import Row, restoration
from benchmarks.studies.alike import means
from benchmarks.studies.tables import BASE
from flowprior.evaluation import sweep
from flowprior.evaluation.result import REAL_DATA
from flowprior.flow import Flow
from flowprior.study.table import DataFrame, select

SAMPLES, NFE = 1000, (0, 1, 4, 15)
TRAINING = "training"
DISTANCES = ("kid-lite0", "fid-lite0")
TASKS = {
    "emoji-super-resolution": "32 × 32 pixels from 8 × 8",
    "emoji-inpainting": restoration.TASKS["inpainting"],
}
SCORES: Mapping[str, str] = {**restoration.SCORES, "caption-top5-lite0": "%.3f", "nearest-q05": "%.2f"}
"""Whether a restoration shows what its caption says, and how near to training pictures the nearest are."""
SUMMARY: Mapping[str, str] = {
    "kid-lite0": "%.2f",
    **{name: restoration.SCORES[name] for name in ("crps", "psnr", "ssim", "consistency")},
}
"""What docs/restoration.md shows of it."""
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


def by_heart(table: DataFrame, metric: str, nfe: int) -> DataFrame:
    """A score of test and of training pictures by equal steps, flows by splits."""
    drawn = select(table, sampler=restoration.EQUAL_STEPS)
    return pandas.DataFrame({split: means(drawn, metric, split)[nfe] for split in ("test", TRAINING)})


def mean_leads(table: DataFrame) -> list[str]:
    """The distances at which the prior's mean alone is nearer than either setting at any evaluations."""
    alone = {metric: means(table, f"{metric}{restoration.ALONE}") for metric in DISTANCES}
    nearest = {metric: restoration.values(table, metric).min(axis=None) for metric in DISTANCES}
    return [metric for metric in DISTANCES if alone[metric].loc[restoration.MEAN, 0] < nearest[metric]]


def summary(table: DataFrame, task: str) -> list[str]:
    """Rows of Markdown: of each metric both settings at 1, 4 and 15 evaluations, and the prior's mean."""
    rows = []
    for metric, digits in SUMMARY.items():
        found = restoration.values(table, metric)
        cells = [found.loc[flow, nfe] for flow in (BASE, restoration.OURS) for nfe in NFE[1:]]
        cells.append(means(table, f"{metric}{restoration.ALONE}").loc[restoration.MEAN, 0])
        rows.append(f"| {task} | {metric} | {' | '.join(digits % cell for cell in cells)} |")
    return rows
