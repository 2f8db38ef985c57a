"""Train many small flows side by side, as one network with one more dimension: a runner of a study.

    runner = "benchmarks.studies.ensemble:train_cells"

Members share the network, its initial weights, times, optimiser and budget, and the order of the data; what
they differ in is prior and coupling. It is the training loop's arithmetic but for the clipping of gradients,
and its cosine ends at zero.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from benchmarks.studies import fit_prior
from flowprior.couplings import Coupling
from flowprior.data import Data
from flowprior.flow import Flow
from flowprior.models import build_model
from flowprior.paths import Path
from flowprior.priors import Prior
from flowprior.training import TrainingConfig
from flowprior.training.batches import Pairs, PairStream
from flowprior.training.optimiser import ema_decay
from flowprior.training.randomness import Randomness

DRAW = 512
"""Pairs that a coupling draws (and optimal transport re-pairs) at once, for several steps."""
MOST = 32
"""Members that are trained at once."""


class Member(NamedTuple):
    """One flow of the ensemble: its fitted prior, and the coupling that training and sampling ask."""

    prior: Prior
    coupling: Coupling


def train_cells(cells: Sequence[Any], data: Data) -> Iterator[tuple[Any, Flow]]:
    """Train the cells of a study, those of one seed together; each comes with its flow.

    Args:
        cells: with one network and one budget; prior and coupling may differ.
        data: training split. A ``prior_data`` of it is what priors are fitted to in its place.
    """
    for seed in dict.fromkeys(cell.seed for cell in cells):
        own = [cell for cell in cells if cell.seed == seed]
        specs = dict.fromkeys(cell.config.prior for cell in own)
        priors = {spec: fit_prior(spec, getattr(data, "prior_data", data), seed) for spec in specs}
        for first in range(0, len(own), MOST):
            some = own[first : first + MOST]
            configs = [cell.config for cell in some]
            members = [Member(priors[c.prior], Coupling.registry.resolve(c.coupling)) for c in configs]
            flows = train_members(members, data, configs[0].model, configs[0].training)
            yield from zip(some, flows, strict=True)


def train_members(members: Sequence[Member], data: Data, model: str, config: TrainingConfig) -> list[Flow]:
    """Train all of them on ``data``; the flows have averaged weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = build_model(model, data.event_shape, data.condition)
    weights, flows = _optimise(network, members, data, config), []
    for row, member in enumerate(members):
        own = copy.deepcopy(network).eval()
        own.load_state_dict({name: weight[row] for name, weight in weights.items()}, strict=False)
        flows.append(Flow(own, *member, Path.create("condot"), data.condition, model_spec=model))
    return flows


def _optimise(
    model: nn.Module, members: Sequence[Member], data: Data, config: TrainingConfig
) -> dict[str, Tensor]:
    """Averaged weights, name -> ``[members, *shape]``."""
    randomness = Randomness(config.seed)
    streams = [_pairs(member, data, config.batch_size, randomness) for member in members]
    weights, buffers = stack_module_state([model] * len(members))  # type: ignore[list-item]
    average = {name: weight.detach().clone() for name, weight in weights.items()}
    betas, decay = (config.beta1, config.beta2), config.weight_decay
    optimizer = torch.optim.AdamW(weights.values(), betas=betas, weight_decay=decay, fused=True)
    loss_of = _loss_of(model, conditional=data.condition.kind != "none")
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = _rate(config, step)
        t = torch.rand(config.batch_size, generator=randomness.generator("time", step))
        loss = loss_of(weights, buffers, *_stack([stream.batch(step) for stream in streams]), t)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        newest = [weight.detach() for weight in weights.values()]
        torch._foreach_lerp_(list(average.values()), newest, 1 - ema_decay(config.ema, step))
    return average


def _loss_of(model: nn.Module, conditional: bool) -> Any:
    """(weights, buffers, x0, x1, conditions, t) -> the sum of the members' losses."""
    path = Path.create("condot")
    velocities = vmap(
        lambda own, fixed, *inputs: functional_call(model, (own, fixed), inputs),
        in_dims=(0, 0, 0, None, 0 if conditional else None),
    )

    def loss(weights: Any, buffers: Any, x0: Tensor, x1: Tensor, cond: Tensor | None, t: Tensor) -> Tensor:
        parts = path.interpolate(x0.flatten(0, 1), x1.flatten(0, 1), t.repeat(len(x1)))
        found = velocities(weights, buffers, parts.x_t.view_as(x1), t, cond)
        return (found - parts.u_t.view_as(x1)).square().flatten(1).mean(1).sum()

    return loss


def _rate(config: TrainingConfig, step: int) -> float:
    """Learning rate of ``step``: a linear warm-up times a cosine to zero."""
    cosine = 0.5 + 0.5 * math.cos(math.pi * step / config.steps)
    return config.lr * min(1.0, (step + 1) / max(config.warmup, 1)) * cosine


def _pairs(member: Member, data: Data, batch_size: int, randomness: Randomness) -> PairStream:
    stream = PairStream(data, member.prior, member.coupling, batch_size, randomness)
    stream.draw_size = -(-DRAW // batch_size) * batch_size
    return stream


def _stack(batches: list[Pairs]) -> tuple[Tensor, Tensor, Tensor | None]:
    """x0, x1 ``[members, B, *event]`` and conditions ``[members, B, …]`` or None."""
    x0, x1, cond = zip(*batches, strict=True)
    labels = [part for part in cond if isinstance(part, Tensor)]
    return torch.stack(x0), torch.stack(x1), torch.stack(labels) if labels else None
