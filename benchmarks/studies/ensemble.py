"""Train many small flows side by side, as one network with one more dimension.

On a slow core the Python of a training step costs more than the arithmetic of a small network. Here one step
serves every member at once (``torch.func.vmap`` over stacked weights). Members share the network, its initial
weights, times, optimiser and budget, and, where their data are equally many, the order of the data; what they
differ in is data, prior and coupling. It is the training loop's arithmetic but for the clipping of gradients.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from benchmarks.studies.settings import Setting
from benchmarks.studies.store import Cell, Store
from flowprior.conditions import Condition
from flowprior.couplings import Coupling
from flowprior.data import Data
from flowprior.flow import Flow
from flowprior.models import build_model
from flowprior.paths import Path
from flowprior.priors import Prior
from flowprior.training.batches import PairStream
from flowprior.training.randomness import Randomness

DRAW = 512
"""Pairs that a coupling draws (and optimal transport re-pairs) at once, for several steps."""
MOST = 32
"""Members that are trained at once."""


@dataclass(frozen=True)
class Budget:
    """What every member is trained with.

    Attributes:
        model: velocity network.
        steps: optimiser steps.
        batch_size: pairs a step.
        lr: highest learning rate of AdamW, after a linear warm-up, before a cosine to zero.
        warmup: steps of the warm-up.
        ema: decay of the moving average of the weights.
    """

    model: str = "mlp:width=64,depth=2"
    steps: int = 500
    batch_size: int = 64
    lr: float = 5e-3
    warmup: int = 50
    ema: float = 0.99

    def rate(self, step: int) -> float:
        """Learning rate of ``step``."""
        cosine = 0.5 + 0.5 * math.cos(math.pi * step / self.steps)
        return self.lr * min(1.0, (step + 1) / self.warmup) * cosine


@dataclass(frozen=True)
class Member:
    """One flow of the ensemble; ``fitted`` in place of the setting's own prior."""

    setting: Setting
    data: Data
    fitted: Prior | None = None


@dataclass(frozen=True)
class Job:
    """One cell of an experiment: who is trained, how it is judged, and what it is kept as.

    Attributes:
        key: names the cell.
        member: is trained.
        judge: its flow -> figures.
        made_with: what the cell differs in from others; written into it.
    """

    key: str
    member: Member
    judge: Callable[[Flow], Cell]
    made_with: dict[str, Any] = field(default_factory=dict)


def run_jobs(store: Store, jobs: list[Job], seed: int, budget: Budget) -> list[Cell]:
    """The cells of ``jobs``, in their order; those without a result are trained together."""
    made = {
        job.key: {**job.made_with, "seed": seed, **job.member.setting.as_dict(), **asdict(budget)}
        for job in jobs
    }
    missing = [job for job in jobs if store.finished(job.key, made[job.key]) is None]
    for first in range(0, len(missing), MOST):
        some = missing[first : first + MOST]
        flows, seconds = train_members([job.member for job in some], seed, budget)
        for job, flow in zip(some, flows, strict=True):
            store.run(
                job.key,
                lambda j=job, f=flow, each=seconds: {"train_seconds": each, **j.judge(f)},
                **made[job.key],
            )
    return [store.finished(job.key, made[job.key]) or {} for job in jobs]


def fit_prior(spec: str, data: Data, seed: int) -> Prior:
    """The prior that ``spec`` names, fitted."""
    prior = Prior.registry.resolve(spec)
    return prior.fit(data.batches(), generator=torch.Generator().manual_seed(seed))


def train_members(members: list[Member], seed: int, budget: Budget) -> tuple[list[Flow], float]:
    """Train all of them; members of one call have one kind of condition and one event shape.

    Returns:
        The flows, from averaged weights, and the seconds of this process that each cost on average.
    """
    start = time.process_time()
    members = [
        member
        if member.fitted
        else replace(member, fitted=fit_prior(member.setting.prior, member.data, seed))
        for member in members
    ]
    condition = members[0].data.condition
    model = _seeded_model(budget.model, members[0].data.event_shape, condition, seed)
    weights = _optimise(model, members, seed, budget)
    flows = []
    for row, member in enumerate(members):
        own = copy.deepcopy(model)
        own.load_state_dict({name: weight[row] for name, weight in weights.items()}, strict=False)
        flows.append(_flow(own.eval(), member, condition))
    return flows, (time.process_time() - start) / len(members)


def _optimise(model: nn.Module, members: list[Member], seed: int, budget: Budget) -> dict[str, Tensor]:
    """Averaged weights, name -> ``[members, *shape]``."""
    randomness, path = Randomness(seed), Path.create("condot")
    streams = [_pairs(member, budget.batch_size, randomness) for member in members]
    weights, buffers = stack_module_state([model] * len(members))  # type: ignore[list-item]
    average = {name: weight.detach().clone() for name, weight in weights.items()}
    optimizer = torch.optim.AdamW(weights.values(), betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    conditional = members[0].data.condition.kind != "none"

    def velocity(own: dict[str, Tensor], fixed: dict[str, Tensor], x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        return functional_call(model, (own, fixed), (x, t, c if conditional else None))

    velocities = vmap(velocity, in_dims=(0, 0, 0, None, 0))
    for step in range(budget.steps):
        for group in optimizer.param_groups:
            group["lr"] = budget.rate(step)
        x0, x1, cond = _stack([stream.batch(step) for stream in streams])
        t = torch.rand(budget.batch_size, generator=randomness.generator("time", step))
        parts = path.interpolate(x0.flatten(0, 1), x1.flatten(0, 1), t.repeat(len(members)))
        found = velocities(weights, buffers, parts.x_t.view_as(x1), t, cond)
        loss = (found - parts.u_t.view_as(x1)).square().flatten(1).mean(1).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        decay = min(budget.ema, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(average.values()), [w.detach() for w in weights.values()], 1 - decay)
    return average


def _pairs(member: Member, batch_size: int, randomness: Randomness) -> PairStream:
    assert member.fitted is not None
    coupling = Coupling.registry.resolve(member.setting.coupling)
    stream = PairStream(member.data, member.fitted, coupling, batch_size, randomness)
    stream.draw_size = -(-DRAW // batch_size) * batch_size
    return stream


def _stack(batches: list[tuple[Tensor, Tensor, Tensor | None]]) -> tuple[Tensor, Tensor, Tensor]:
    """x0, x1 ``[members, B, *event]`` and conditions ``[members, B, …]``, zeros where there are none."""
    x0, x1, labels = zip(*batches, strict=True)
    none = torch.zeros(len(x0[0]), dtype=torch.long)
    return torch.stack(x0), torch.stack(x1), torch.stack([none if c is None else c for c in labels])


def _seeded_model(spec: str, event_shape: torch.Size, condition: Condition, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_model(spec, event_shape, condition)


def _flow(model: nn.Module, member: Member, condition: Condition) -> Flow:
    assert member.fitted is not None
    coupling = Coupling.registry.resolve(member.setting.coupling)
    return Flow(model, member.fitted, coupling, Path.create(member.setting.path), condition)
