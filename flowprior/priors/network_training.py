"""Networks inside of priors, and how they are trained; held-out rows choose the weights.

A mapper P_θ, from a condition to the mean of its data (arXiv 2502.09611, section 4.2), is trained by mean
squared error, on streamed batches, until held-out rows gain no more: those of whole conditions that were held
out, where embeddings repeat (:mod:`flowprior.priors.holdout`). A density is trained by gradient steps on its
likelihood, or on a bound of it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from flowprior.conditions import Condition
from flowprior.networks.embeddings import ConditionEmbedding, zeroed
from flowprior.priors.holdout import Holdout, conditioned

DRAWN = (nn.Linear, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.LayerNorm, nn.GroupNorm)
"""Layers with weights of their own."""
Objective = Callable[[Tensor, Any, torch.Generator | None], Tensor]
"""Mean loss, a scalar, of rows x ``[B, D]`` under their condition, which is None of data without one."""

DENSITY_DECAY = 1e-4
CHECKS = 20
FIRST_FACTOR, WARM_UP = 0.1, 0.1
MOST_PASSES = 50
"""Over the data in a training that is :func:`bounded`: on few rows more of them would only overfit."""


class MapperNetwork(nn.Module):
    """From labels ``[B]`` or embeddings ``[B, E]`` to flat events ``[B, D]``; ``out`` is its last layer."""

    out: nn.Linear | nn.Conv2d
    by_steps: ClassVar[bool] = False
    """Whether it is trained for a number of steps, as suits large examples, and not until it is stale."""

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


WEIGHT_DECAY = 1e-2
CLIP_NORM = 1.0
GAIN = 1e-3
"""Least relative fall of the held-out error that counts as one."""
PATIENCE = 6
"""Epochs without a gain after which the rate falls."""
DECAY, DECAYS = 0.2, 2
"""Factor of the rate, and how often it falls before the training ends."""


@dataclass(frozen=True)
class MapperTraining:
    """Options of the training; ``epochs`` is the most that it takes."""

    epochs: int
    batch_size: int
    lr: float


@dataclass
class Progress:
    """The weights of the least held-out error so far, and how long nothing better has come.

    Attributes:
        error: the least mean squared error.
        weights: of the epoch that had it.
        epochs: passes so far.
        stale: passes since the error last fell by a share of ``GAIN``.
        decays: how often the rate has fallen.
        converged: whether there is no more to gain.
    """

    error: float
    weights: dict[str, Tensor] = field(repr=False)
    epochs: int = 0
    stale: int = 0
    decays: int = 0
    converged: bool = False

    def note(self, error: float, mapper: MapperNetwork) -> bool:
        """Take in the held-out error after an epoch; whether the rate is to fall now."""
        self.epochs += 1
        self.stale = 0 if error < self.error * (1 - GAIN) else self.stale + 1
        if error <= self.error:
            self.error, self.weights = error, weights_of(mapper)
        if self.stale < PATIENCE:
            return False
        self.converged = self.decays == DECAYS
        self.decays, self.stale = self.decays + 1, 0
        return not self.converged


def train_mapper(
    mapper: MapperNetwork,
    data: Holdout,
    center: Tensor,
    options: MapperTraining,
    generator: torch.Generator | None,
) -> Progress:
    """Fit P_θ(c) to x1 − ``center`` and leave the weights of the epoch that is best on held-out rows.

    AdamW with gradient clipping before the step. The rate falls when the held-out error has stopped falling,
    and the training ends when a lower rate does not help either; it warns where ``epochs`` end it before.
    Without held-out rows nothing tells when to stop: it takes all ``epochs``, the rate falls along a cosine,
    and the last weights stay. Weights are drawn from ``generator``, and ask for no gradient at the end.
    """
    mapper.requires_grad_(True).initialise(generator)
    optimiser = torch.optim.AdamW(mapper.parameters(), lr=options.lr, weight_decay=WEIGHT_DECAY)
    if data.is_empty:
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, options.epochs)
        for _ in range(options.epochs):
            _epoch(mapper, optimiser, data, center, options.batch_size, generator)
            schedule.step()
        progress = Progress(float("nan"), weights_of(mapper), options.epochs)
    else:
        progress = _train_until_stale(mapper, optimiser, data, center, options, generator)
    mapper.load_state_dict(progress.weights)
    mapper.requires_grad_(False)
    return progress


def train_by_steps(
    mapper: MapperNetwork,
    data: Holdout,
    center: Tensor,
    options: DensityTraining,
    generator: torch.Generator | None,
) -> None:
    """As :func:`train_mapper`, for as many steps as ``options`` say; see :func:`train_density`."""

    def error(x: Tensor, cond: Tensor, _: torch.Generator | None) -> Tensor:
        return nn.functional.mse_loss(mapper(cond), x - center)

    mapper.requires_grad_(True).initialise(generator)
    train_density(mapper, error, data, options, generator)


def _train_until_stale(
    mapper: MapperNetwork,
    optimiser: torch.optim.Optimizer,
    data: Holdout,
    center: Tensor,
    options: MapperTraining,
    generator: torch.Generator | None,
) -> Progress:
    progress = Progress(held_out_error(mapper, data, center), weights_of(mapper))
    while not progress.converged and progress.epochs < options.epochs:
        _epoch(mapper, optimiser, data, center, options.batch_size, generator)
        if progress.note(held_out_error(mapper, data, center), mapper):
            mapper.load_state_dict(progress.weights)
            for group in optimiser.param_groups:
                group["lr"] *= DECAY
    if not progress.converged:
        warnings.warn(
            f"learned-mean.fit: the mapper has not converged in epochs={options.epochs}: its held-out error, "
            f"now {progress.error:.4g}, may still fall; raise epochs",
            RuntimeWarning,
            stacklevel=2,
        )
    return progress


@torch.enable_grad()
def _epoch(
    mapper: MapperNetwork,
    optimiser: torch.optim.Optimizer,
    data: Holdout,
    center: Tensor,
    batch_size: int,
    generator: torch.Generator | None,
) -> None:
    for x, cond in conditioned(data.rows(held_out=False)):
        for rows in torch.randperm(len(x), generator=generator).split(batch_size):
            loss = nn.functional.mse_loss(mapper(cond[rows]), x[rows] - center)
            _step(optimiser, list(mapper.parameters()), loss)


@torch.no_grad()
def held_out_error(mapper: MapperNetwork, data: Holdout, center: Tensor) -> float:
    """Mean squared error on held-out rows, a number of x1's."""
    error, numbers = 0.0, 0
    for x, cond in conditioned(data.rows(held_out=True)):
        error += float((mapper(cond) - (x - center)).square().sum(dtype=torch.float64))
        numbers += x.numel()
    return error / numbers


class KeptMean:
    """A mapper's weights and its squared errors on held-out rows, before it is trained by something else."""

    def __init__(self, mapper: MapperNetwork, data: Holdout, center: Tensor) -> None:
        self.mapper, self.data, self.center = mapper, data, center
        self.weights, self.errors = weights_of(mapper), self._errors()

    def restored(self) -> bool:
        """Take the weights back where the errors have risen since, and say so; without held-out rows never.

        Row by row, a rise counts from twice its standard error on.
        """
        rise = self._errors() - self.errors
        worse = len(rise) > 1 and bool(rise.mean() > 2 * rise.std() / math.sqrt(len(rise)))
        if worse:
            self.mapper.load_state_dict(self.weights)
        return worse

    @torch.no_grad()
    def _errors(self) -> Tensor:
        """Squared error of each held-out row, a number of x1's, ``[n]``."""
        if self.data.is_empty:
            return torch.empty(0)
        errors = []
        for x, cond in conditioned(self.data.rows(held_out=True)):
            errors.append((self.mapper(cond) - (x - self.center)).square().mean(1).double().cpu())
        return torch.cat(errors)


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
    optimiser = torch.optim.AdamW(parameters, lr=options.lr, weight_decay=DENSITY_DECAY)
    total = options.steps + 1
    rising = WARM_UP if total * WARM_UP != 1 else 2 / total  # torch divides by rising * total - 1
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, options.lr, total, pct_start=rising, div_factor=1 / FIRST_FACTOR
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
