"""Restoring pictures: what the mean of a designed start is worth alone, and what is read off the study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas

from benchmarks.studies import FASHION_CLASSIFIER, Row, lead
from benchmarks.studies.alike import means
from benchmarks.studies.tables import BASE, FEATURES
from flowprior.evaluation import sweep
from flowprior.evaluation.result import REAL_DATA
from flowprior.flow import Flow
from flowprior.study.table import DataFrame, Series, select

SAMPLES, BATCH = 2000, 250
METRICS = ["fid", "crps", "energy-score", "psnr", "ssim", "consistency"]
ALONE = "-alone"
"""How the names of the metrics of the prior's mean alone end."""
OURS = "learned+condot"
IN_UNITS = f"{OURS}, preconditioned"
MEAN = f"{OURS}, mean"
"""The mean of the prior alone, as one certain restoration."""
TASKS = {
    "super-resolution": "28 × 28 pixels from 7 × 7",
    "inpainting": "a hidden rectangle of half the sides",
}
SCORES: Mapping[str, str] = {
    "crps": "%.4f",
    "energy_score": "%.3f",
    "member_spread": "%.3f",
    "psnr": "%.2f",
    "ssim": "%.3f",
    "consistency": "%.4f",
}
EQUAL_STEPS = "euler"
JUDGED = (*FEATURES, "crps")
"""The metrics of which the design at 4 evaluations is to be no worse than the baseline at any number."""


def values_of_the_mean(flow: Flow, cell: Any, data: Any) -> list[Row]:
    """The metrics of the prior's mean on 2,000 conditions of Fashion-MNIST, as :func:`of_the_mean`."""
    options = {"samples": SAMPLES, "metrics": METRICS, "classifier": str(FASHION_CLASSIFIER)}
    return of_the_mean(flow, cell, data, **options)


def of_the_mean(flow: Flow, cell: Any, data: Any, **options: Any) -> list[Row]:
    """The metrics of the prior's mean, one sample of each condition; nothing of N(0, I).

    Their names end in ``-alone``, for they are over other conditions than those of the study.

    Args:
        flow: a trained one.
        cell: of the study.
        data: its splits.
        options: of :func:`flowprior.evaluation.sweep`: how many samples, which metrics and classifier.
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
        features=["lite0"],
        batch_size=BATCH,
        **options,
    )
    label = f"{cell.variant.label}, mean"
    kept = [row for row in found.rows if row["nfe"] == 0 and row["flow"] != REAL_DATA]
    own = {"flow": label, "seed": cell.seed}
    return [row | own | {"metric": f"{row['metric']}{ALONE}"} for row in kept]


def scores(table: DataFrame, metric: str) -> DataFrame:
    """Test means with equal steps: a row for each flow, and for the prior's mean, a column for each NFE."""
    drawn = means(select(table, sampler=EQUAL_STEPS), metric)
    alone = means(table, f"{metric}{ALONE}")
    return pandas.concat([part for part in (drawn, alone) if len(part)])


def values(table: DataFrame, metric: str) -> DataFrame:
    """Distances at the grid that the validation split prefers, scores with equal steps; NFE from 1 on."""
    found = scores(table, metric) if metric in SCORES else lead.settings(table, metric)
    return found.reindex([BASE, OURS]).drop(columns=0, errors="ignore")


def against_best(table: DataFrame, judged: Sequence[str] = JUDGED) -> Series:
    """The design at 4 evaluations over the baseline's best at any number of them, by metric."""
    found = {metric: values(table, metric) for metric in judged}
    return pandas.Series({metric: own.loc[OURS, 4] / own.loc[BASE].min() for metric, own in found.items()})


def behind(table: DataFrame, judged: Sequence[str] = JUDGED) -> list[str]:
    """Where the baseline is ahead: metric and number of evaluations."""
    found = {metric: values(table, metric) for metric in judged}
    return [
        f"{metric} at {nfe:g}"
        for metric, own in found.items()
        for nfe in own.columns
        if own.loc[OURS, nfe] > own.loc[BASE, nfe]
    ]
