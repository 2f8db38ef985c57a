"""Restoring emoji: what differs from the study of Fashion-MNIST in what is measured and read off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.studies import Row, restoration
from flowprior.flow import Flow

SAMPLES = 1000
DISTANCES = ("kid-lite0", "fid-lite0")
TASKS = {
    "emoji-super-resolution": "32 × 32 pixels from 8 × 8",
    "emoji-inpainting": restoration.TASKS["inpainting"],
}
SCORES: Mapping[str, str] = restoration.SCORES | {"caption-top5-lite0": "%.3f", "nearest-q05": "%.2f"}
"""Whether a restoration shows what its caption says, and how near to training pictures the nearest are."""


def values_of_the_mean(flow: Flow, cell: Any, data: Any) -> list[Row]:
    """The metrics of the prior's mean on 1,000 conditions, as :func:`restoration.of_the_mean`."""
    metrics = [*restoration.METRICS, "kid:subsets=10,subset_size=500", "image-text", "memorisation"]
    return restoration.of_the_mean(flow, cell, data, samples=SAMPLES, metrics=metrics, classifier="none")
