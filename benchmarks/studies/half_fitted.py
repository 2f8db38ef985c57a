"""A prior that is fitted to half of the training data, under a network that is trained on all of them.

    trainer = "benchmarks.studies.half_fitted:train_half_fitted"
    values = "benchmarks.studies.half_fitted:values"

What a flow remembers of single training samples may be in its prior or in its network. The prior has seen one
random half alone, so a flow whose prior remembers them gives samples near that half more often than near the
other. The values of a flow whose prior was fitted to all of the data are a control: there the halves differ
by chance alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.studies import Row, draw, rows_of
from flowprior import train
from flowprior.data import Data
from flowprior.data.splits import split_validation
from flowprior.flow import Flow
from flowprior.metrics.memorisation import copied_share, nearest
from flowprior.training.batches import Randomness
from flowprior.training.components import fit_prior, resolve_components
from flowprior.training.config import RunConfig

NFES = (0, 1, 4, 15, 30)
SAMPLES = 2000
BATCH = 250
"""The number of samples that are solved at once."""
SHARE, ERROR = "nearest-in-half", "nearest-in-half-error"


def halves(data: Data, seed: int) -> tuple[Data, Data]:
    """Return two halves of ``data`` with half of every label each; a prior is fitted to the first."""
    others, fitted = split_validation(data, len(data) // 2, seed)
    return fitted, others


def train_half_fitted(config: RunConfig, data: Data, out: Path | None = None) -> Flow:
    """Train on ``data`` as ``flowprior.train`` does, from a prior that is fitted to one half; it resumes.

    Args:
        config: the configuration of the run, whose seed chooses the half.
        data: the training split.
        out: the run folder.
    """
    fitted, _ = halves(data, config.training.seed)
    parts = resolve_components(config, data=fitted)
    fit_prior(parts, Randomness(config.training.seed, parts.device))
    return train(data, config=config, prior=parts.prior, out=out, resume=True)


def nearest_in_half(x: Tensor, fitted: Data, others: Data) -> tuple[float, float]:
    """Return the share of samples whose nearest data sample is in one half, and its standard error.

    By chance the share is 0.5, for halves of equal size. Ties count half. The standard error is that of which
    data happen to be in the half (:func:`flowprior.metrics.memorisation.copied_share`).

    Args:
        x: the samples ``[N, *event]``.
        fitted: the half.
        others: the other half.
    """
    one, other = (nearest(x, (events for events, _ in half.batches())) for half in (fitted, others))
    copied, error = copied_share(one, other, len(fitted), len(others))
    chance = len(others) / (len(fitted) + len(others))
    return 1 - chance * (1 - copied), chance * error


def values(flow: Flow, run: Any, data: Any) -> list[Row]:
    """Return :func:`nearest_in_half` of samples for balanced labels, at every number of evaluations."""
    rows, parts = [], halves(data.train, run.seed)
    cond = torch.arange(SAMPLES) % data.train.condition.size
    for nfe in NFES:
        x = draw(flow, cond, nfe, run.seed, batch_size=BATCH)
        share, error = nearest_in_half(x.clamp(-1, 1) if data.train.is_image else x, *parts)
        found = {SHARE: share, ERROR: error}
        rows += rows_of(found, nfe=nfe, sampler="euler", samples=SAMPLES, split="train")
    return rows
