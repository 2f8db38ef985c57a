"""Training of the mapper P_θ by mean squared error, on streamed batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from flowprior.models.mapper import Mapper
from flowprior.priors.holdout import split_rows
from flowprior.priors.stream import CheckedBatches

WEIGHT_DECAY = 1e-2
CLIP_NORM = 1.0


@dataclass(frozen=True)
class MapperTraining:
    """Options of the training; ``holdout`` is the share of examples kept from it."""

    epochs: int
    batch_size: int
    lr: float
    holdout: float

    def split(self, data: CheckedBatches, *, held_out: bool) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of the training rows, or of the held-out ones: every (1/holdout)-th row of the data."""
        for x, cond in split_rows(data, self.holdout, held_out=held_out):
            assert cond is not None
            yield x, cond


@torch.enable_grad()
def train_mapper(
    mapper: Mapper,
    data: CheckedBatches,
    center: Tensor,
    options: MapperTraining,
    generator: torch.Generator | None,
) -> None:
    """Fit P_θ(c) to x1 − ``center`` and leave the weights of the epoch that is best on held-out rows.

    AdamW with gradient clipping before the step and a cosine schedule over the epochs. Weights are
    drawn from ``generator``, and ask for no gradient any more at the end.
    """
    _initialise(mapper.requires_grad_(True), generator)
    optimiser = torch.optim.AdamW(mapper.parameters(), lr=options.lr, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, options.epochs)
    best, best_error = _copy(mapper), float("inf")
    for _ in range(options.epochs):
        for x, cond in options.split(data, held_out=False):
            order = torch.randperm(len(x), generator=generator)
            for rows in order.split(options.batch_size):
                optimiser.zero_grad()
                nn.functional.mse_loss(mapper(cond[rows]), x[rows] - center).backward()
                nn.utils.clip_grad_norm_(mapper.parameters(), CLIP_NORM)
                optimiser.step()
        schedule.step()
        error = _held_out_error(mapper, data, center, options)
        if error <= best_error:
            best, best_error = _copy(mapper), error
    mapper.load_state_dict(best)
    mapper.requires_grad_(False)


@torch.no_grad()
def _held_out_error(mapper: Mapper, data: CheckedBatches, center: Tensor, options: MapperTraining) -> float:
    """Sum of squared errors on held-out rows; zero where none are held out."""
    error = 0.0
    for x, cond in options.split(data, held_out=True):
        error += float((mapper(cond) - (x - center)).square().sum())
    return error


def _initialise(mapper: Mapper, generator: torch.Generator | None) -> None:
    seed = int(torch.randint(1 << 62, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in mapper.modules():
            if module is not mapper.out and isinstance(module, nn.Linear | nn.Embedding):
                module.reset_parameters()


def _copy(mapper: Mapper) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in mapper.state_dict().items()}
