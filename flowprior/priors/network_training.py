"""Networks inside of priors, and how they are trained; held-out rows choose the weights.

A mapper P_θ, from a condition to the mean of its data (arXiv 2502.09611, section 4.2), is trained by mean
squared error, a density by its likelihood or a bound of it, on streamed batches. The rows held out are those
of whole conditions, where embeddings repeat (:mod:`flowprior.priors.holdout`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from flowprior.conditions import Condition
from flowprior.networks.embeddings import ConditionEmbedding, zeroed
from flowprior.priors.holdout import Holdout, conditioned

DRAWN = (nn.Linear, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.LayerNorm, nn.GroupNorm)
"""Layers with weights of their own."""
Objective = Callable[[Tensor, Any, torch.Generator | None], Tensor]
"""Mean loss, a scalar, of rows x ``[B, D]`` under their condition, which is None of data without one."""

WEIGHT_DECAY, CLIP_NORM = 1e-4, 1.0
LEAST_BATCHES = 4
"""The fewest batches that a pass over the data counts for: of a hundred rows, 50 steps teach too little."""
CHECKS = 20
"""The number of times that a training looks at the held-out rows."""
FIRST_FACTOR, WARM_UP = 0.1, 0.1
"""The first learning rate as a share of the peak, and the share of the steps in which it rises."""


class MapperNetwork(nn.Module):
    """From labels ``[B]`` or embeddings ``[B, E]`` to flat events ``[B, D]``; ``out`` is its last layer."""

    out: nn.Linear | nn.Conv2d

    def fit(
        self,
        data: Holdout,
        center: Tensor,
        options: NetworkTraining,
        generator: torch.Generator | None,
    ) -> None:
        """Learn x − ``center`` of the rows to train on by squared error."""

        def error(x: Tensor, cond: Tensor, _: torch.Generator | None) -> Tensor:
            return nn.functional.mse_loss(self(cond), x - center)

        self.initialise(generator)
        train_network(self, error, data, options, generator)

    def initialise(self, generator: torch.Generator | None) -> None:
        """Draw the weights from ``generator``; those of the last layer are zero."""
        seed = int(torch.randint(1 << 62, (), generator=generator))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for module in self.modules():
                if module is not self.out and isinstance(module, DRAWN):
                    module.reset_parameters()
        zeroed(self.out)


class Mapper(MapperNetwork):
    """A residual MLP from labels or embeddings to one flat event.

    Args:
        condition: kind and size of the condition, labels or embeddings.
        dim: D, numbers in an event.
        hidden: width.
        depth: residual blocks.
    """

    def __init__(self, condition: Condition, dim: int, hidden: int = 256, depth: int = 2) -> None:
        super().__init__()
        self.embed = ConditionEmbedding(condition, hidden)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(hidden), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, hidden)
            )
            for _ in range(depth)
        )
        self.out = zeroed(nn.Linear(hidden, dim))

    def forward(self, cond: Tensor) -> Tensor:
        """Means ``[B, D]`` of conditions ``[B]`` or ``[B, E]``; zero before training."""
        h = self.embed(cond)
        for block in self.blocks:
            h = h + block(h)
        return self.out(h)


@torch.no_grad()
def held_out_errors(mapper: MapperNetwork, data: Holdout, center: Tensor) -> Tensor:
    """Return the mean squared error of each held-out row, ``[n]``; none where no row is held out."""
    rows = conditioned(data.rows(held_out=True))
    errors = [(mapper(cond) - (x - center)).square().mean(1).double().cpu() for x, cond in rows]
    return torch.cat([torch.empty(0), *errors])


class KeptMean:
    """A mapper's weights and its errors on held-out rows, before it is trained by another objective."""

    def __init__(self, mapper: MapperNetwork, data: Holdout, center: Tensor) -> None:
        self.mapper, self.data, self.center = mapper, data, center
        self.weights, self.errors = deepcopy(mapper.state_dict()), held_out_errors(mapper, data, center)

    def restored(self) -> bool:
        """Take the weights back if the errors have risen since, and return whether they have.

        Row by row, a rise counts from twice its standard error on; without held-out rows there is none.
        """
        rise = held_out_errors(self.mapper, self.data, self.center) - self.errors
        worse = len(rise) > 1 and bool(rise.mean() > 2 * rise.std() / math.sqrt(len(rise)))
        if worse:
            self.mapper.load_state_dict(self.weights)
        return worse


@dataclass(frozen=True)
class NetworkTraining:
    """The number of optimiser steps, the examples in each, and the peak learning rate."""

    steps: int
    batch_size: int
    lr: float

    def within(self, passes: int, data: Holdout) -> NetworkTraining:
        """Return the same with so many steps that they are at most ``passes`` over the rows to train on.

        Fewer rows than ``LEAST_BATCHES`` batches count as so many.
        """
        count = sum(len(x) for x, _ in data.rows(held_out=False))
        batches = max(count, LEAST_BATCHES * self.batch_size)
        return replace(self, steps=min(self.steps, passes * batches // self.batch_size))


def train_network(
    network: nn.Module,
    objective: Objective,
    data: Holdout,
    options: NetworkTraining,
    generator: torch.Generator | None,
) -> None:
    """Take AdamW steps on ``objective`` and leave the weights that are best on held-out rows.

    The rate rises for a tenth of the steps and then falls along a cosine to zero. Held-out rows are looked
    at before the first step and 20 times on the way, each time with the same random numbers. Without any,
    the last weights stay. Parameters ask for no gradient at the end.
    """
    network.requires_grad_(True)
    parameters = list(network.parameters())
    optimiser = torch.optim.AdamW(parameters, lr=options.lr, weight_decay=WEIGHT_DECAY)
    total = options.steps + 1
    rising = WARM_UP if total * WARM_UP != 1 else 2 / total  # torch divides by rising * total - 1
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, options.lr, total, pct_start=rising, div_factor=1 / FIRST_FACTOR
    )
    seed = int(torch.randint(1 << 62, (), generator=generator))
    best, best_loss = deepcopy(network.state_dict()), _held_out_loss(objective, data, seed)
    period = max(1, options.steps // CHECKS)
    for step, (x, cond) in enumerate(_batches(data, options, generator), 1):
        with torch.enable_grad():
            optimiser.zero_grad()
            objective(x, cond, generator).backward()
        nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
        optimiser.step()
        schedule.step()
        if step % period == 0 or step == options.steps:
            loss = _held_out_loss(objective, data, seed)
            if loss <= best_loss:
                best, best_loss = deepcopy(network.state_dict()), loss
    network.load_state_dict(best)
    network.requires_grad_(False)


def _batches(
    data: Holdout, options: NetworkTraining, generator: torch.Generator | None
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
def _held_out_loss(objective: Objective, data: Holdout, seed: int) -> float:
    """Return the mean loss over the held-out rows; −∞ where none are held out."""
    generator = torch.Generator().manual_seed(seed)
    total, count = 0.0, 0
    for x, cond in data.rows(held_out=True):
        total += float(objective(x, cond, generator)) * len(x)
        count += len(x)
    return total / count if count else -math.inf
