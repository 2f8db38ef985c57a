"""8gaussians → moons with two classes, as C²OT measured it (arXiv 2503.10636).

    trainer = "benchmarks.studies.moons:train_from_eight"
    values = "benchmarks.studies.moons:values"

The source is a mixture fitted to 8gaussians without a condition, the target moons with its two labels. W2² is
between 5,000 generated and as many real points, both classes pooled as in the paper (which takes 10,000),
with Euler in one step and with dopri5.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from benchmarks.studies.protocol import Row, everything, rows_of
from flowprior.data import Data, load_data
from flowprior.data.toys import sample_eight_gaussians
from flowprior.flow import Flow
from flowprior.metrics import wasserstein2_squared
from flowprior.priors import Prior
from flowprior.training import train
from flowprior.training.config import RunConfig

POINTS = 5_000  # exact transport of 10,000 takes 10 times longer


def train_from_eight(config: RunConfig, data: Data, out: Path | None = None) -> Flow:
    """Train from a mixture fitted to 8gaussians: a trainer of a study."""
    generator = torch.Generator().manual_seed(config.training.seed)
    source = Prior.create("gmm", components=8)
    source.fit(sample_eight_gaussians(50_000, generator=generator), generator=generator)
    return train(data, prior=source, config=config, out=out, resume=out is not None)


def values(flow: Flow, cell: Any, data: Any) -> list[Row]:
    """W2² with Euler in one step and with dopri5."""
    test = load_data(f"8gaussians-to-moons:n={POINTS},seed={cell.seed}", "test")
    real, labels = everything(test)
    rows: list[Row] = []
    for sampler, nfe in (("euler", 1), ("dopri5", None)):
        generator = torch.Generator().manual_seed(cell.seed)
        x = flow.sample(labels, nfe=nfe, sampler=sampler, generator=generator)
        found = {"w2_squared": wasserstein2_squared(x, real)}
        rows += rows_of(cell, found, sampler=sampler, nfe=nfe, samples=POINTS, split="test")
    return rows
