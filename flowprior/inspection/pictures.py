"""Pictures of a prior beside its data."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from flowprior.inspection.examples import Examples, take
from flowprior.pictures import MODES, save_grid, save_scatter
from flowprior.priors import Prior

MOST_CONDITIONS = 10
SAMPLES = 4
POINTS = 2000


def save_prior_picture(
    path: Path | str, prior: Prior, examples: Examples, generator: torch.Generator
) -> bool:
    """Draw images or points of the plane; other events have no picture, and False is returned.

    Images: one row for each of at most ten conditions: mean of the data, mean of the prior, four samples of
    the prior, four examples. Points: samples of the prior, coloured by condition, over the data in grey.

    Raises:
        CheckpointError: the file cannot be written.
        FlowpriorError: points, and matplotlib is not installed.
    """
    shape = examples.x.shape[1:]
    if len(shape) == 3 and shape[0] in MODES:
        rows = [
            _row(prior, examples, *group, generator) for group in list(examples.groups())[:MOST_CONDITIONS]
        ]
        save_grid(path, torch.cat(rows), columns=2 + 2 * SAMPLES)
        return True
    if shape == (2,):
        cond = take(examples.held_out_cond, slice(0, POINTS))
        count = min(POINTS, len(examples.held_out))
        save_scatter(path, prior.sample(cond, count, generator=generator), cond, real=examples.x[:POINTS])
        return True
    return False


def _row(
    prior: Prior, examples: Examples, label: int, fit: Tensor, held_out: Tensor, generator: torch.Generator
) -> Tensor:
    """Images of one condition ``[2 + 2 · SAMPLES, C, H, W]``; white where there are too few examples."""
    data = examples.held_out[held_out[:SAMPLES]]
    cond = take(examples.held_out_cond, held_out[torch.arange(SAMPLES) % len(held_out)])
    white = torch.ones(SAMPLES - len(data), *data.shape[1:])
    mean = prior.mean(take(cond, slice(0, 1)), 1).cpu()
    samples = prior.sample(cond, SAMPLES, generator=generator).cpu()
    return torch.cat([examples.x[fit].mean(0, keepdim=True), mean, samples, data, white])
