"""Truncation errors of a sampler against a tight-tolerance solution of the same model from the same starts.

Local: of a single step that starts on the solution, Φ_h(x(t)) − x(t + h). Global: of the sample at the end,
x̂_1 − x(1). Both as root mean squares over samples and the numbers of an event, in units of the data (local
errors over the steps too): what the sampler adds to the model's own error, and falls with NFE to the power of
its order.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from flowprior.flow import Flow
from flowprior.flow.batches import batches
from flowprior.flow.evaluation_mode import evaluating
from flowprior.metrics.trajectories import Trajectories
from flowprior.samplers import CountedVelocity, FixedStepSampler, time_grid


def global_error(x: Tensor, trajectories: Trajectories) -> float:
    """Root mean square of x ``[n, *event]``, solved from the same starts, against their ends."""
    return (x.cpu().double() - trajectories.end.cpu().double()).square().mean().sqrt().item()


def local_error(
    flow: Flow,
    sampler: FixedStepSampler,
    nfe: int,
    trajectories: Trajectories,
    cond: Tensor | None = None,
    *,
    guidance: float = 1.0,
    batch_size: int | None = None,
) -> float:
    """Root mean square of the errors of single steps from the solution; costs ``nfe`` evaluations.

    Args:
        flow: whose model was solved.
        sampler: one-step method.
        nfe: evaluations that its steps spend together.
        trajectories: solved at the sampler's times, see :func:`step_times`.
        cond: the conditions of the trajectories.
        guidance: the one of the trajectories.
        batch_size: samples at once.

    Raises:
        OptionError: an ``nfe`` that the sampler cannot spend exactly.
        InputError: trajectories without the sampler's times.
    """
    squares = [
        _step_error(flow, sampler, trajectories, pair, cond, guidance, batch_size).double().square().mean()
        for pair in pairwise(step_times(sampler, nfe))
    ]
    return torch.stack(squares).mean().sqrt().item()


def step_times(sampler: FixedStepSampler, nfe: int) -> list[float]:
    """The times between which the sampler steps.

    Raises:
        OptionError: an ``nfe`` that it cannot spend exactly.
    """
    return time_grid(sampler.steps(nfe), sampler.grid).tolist()


def _step_error(
    flow: Flow,
    sampler: FixedStepSampler,
    trajectories: Trajectories,
    pair: tuple[float, float],
    cond: Tensor | None,
    guidance: float,
    batch_size: int | None,
) -> Tensor:
    start, end = pair
    velocity = partial(flow.velocity, guidance=guidance)
    with torch.no_grad(), evaluating(flow.model):
        steps = [
            sampler.step(CountedVelocity(velocity, c), x, start, end - start)
            for x, c in batches(trajectories.at(start), cond, batch_size)
        ]
    return torch.cat(steps) - trajectories.at(end)
