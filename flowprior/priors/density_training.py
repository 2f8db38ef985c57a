"""Maximum likelihood, or a bound of it, by gradient steps; held-out rows choose the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from flowprior.priors.holdout import Holdout

Objective = Callable[[Tensor, Any, torch.Generator | None], Tensor]
"""Mean loss, a scalar, of rows x ``[B, D]`` under their condition, which is None of data without one."""

WEIGHT_DECAY = 1e-4
CLIP_NORM = 1.0
CHECKS = 20
FIRST_FACTOR, WARM_UP = 0.1, 0.1
MOST_PASSES = 50
"""Over the data in a training that is :func:`bounded`: on few rows more of them would only overfit."""


@dataclass(frozen=True)
class DensityTraining:
    """Options of the training."""

    steps: int
    batch_size: int
    lr: float


def bounded(options: DensityTraining, data: Holdout) -> DensityTraining:
    """``options`` with as many steps, but at most ``MOST_PASSES`` over the rows to train on."""
    count = sum(len(x) for x, _ in data.rows(held_out=False))
    return replace(options, steps=min(options.steps, max(1, MOST_PASSES * count // options.batch_size)))


def train_density(
    network: nn.Module,
    objective: Objective,
    data: Holdout,
    options: DensityTraining,
    generator: torch.Generator | None,
) -> None:
    """Take ``steps`` AdamW steps on ``objective`` and leave the weights that are best on held-out rows.

    The rate rises for a tenth of the steps and then falls along a cosine to zero. Held-out rows are looked
    at before the first step and 20 times on the way, each time with the same random numbers. Without any,
    the last weights stay. Parameters ask for no gradient at the end.
    """
    network.requires_grad_(True)
    parameters = list(network.parameters())
    optimiser = torch.optim.AdamW(parameters, lr=options.lr, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, options.lr, options.steps + 1, pct_start=WARM_UP, div_factor=1 / FIRST_FACTOR
    )
    seed = int(torch.randint(1 << 62, (), generator=generator))
    best, best_loss = weights_of(network), _held_out_loss(objective, data, seed)
    period = max(1, options.steps // CHECKS)
    for step, (x, cond) in enumerate(_batches(data, options, generator), 1):
        _step(optimiser, parameters, objective(x, cond, generator))
        schedule.step()
        if step % period == 0 or step == options.steps:
            loss = _held_out_loss(objective, data, seed)
            if loss is None or best_loss is None or loss <= best_loss:
                best, best_loss = weights_of(network), loss
    network.load_state_dict(best)
    network.requires_grad_(False)


@torch.enable_grad()
def _step(optimiser: torch.optim.Optimizer, parameters: list[nn.Parameter], loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
    optimiser.step()


def _batches(
    data: Holdout, options: DensityTraining, generator: torch.Generator | None
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """``steps`` batches, pass after pass; rows are shuffled inside each batch of the stream."""
    left = options.steps
    while left > 0:
        for x, cond in data.rows(held_out=False):
            for rows in torch.randperm(len(x), generator=generator).split(options.batch_size):
                if left == 0:
                    return
                left -= 1
                yield x[rows.to(x.device)], None if cond is None else cond[rows.to(cond.device)]


@torch.no_grad()
def _held_out_loss(objective: Objective, data: Holdout, seed: int) -> float | None:
    """Mean loss over the held-out rows; None where none are held out."""
    generator = torch.Generator().manual_seed(seed)
    total, count = 0.0, 0
    for x, cond in data.rows(held_out=True):
        total += float(objective(x, cond, generator)) * len(x)
        count += len(x)
    return total / count if count else None


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """A copy of the weights, to be taken back later."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
