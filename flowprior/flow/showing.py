"""What a flow makes of one condition, to be looked at: prior mean, source samples, way and result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flowprior.conditions import Conditions, as_value, moved, rows
from flowprior.errors import InputError
from flowprior.flow.flow import Flow
from flowprior.samplers import Solution

AT_ONCE = 500
"""Samples that are solved at once."""
MOST_STATES = 6


@dataclass(frozen=True)
class Stages:
    """The way of some samples of one condition, as events: of a flow in latents, as pictures.

    Attributes:
        mean: of the prior, ``[1, *event]``.
        states: ``[S, n, *event]``, from the source samples to the result.
        times: of the states.
        nfe: evaluations of the velocity that were spent.
    """

    mean: Tensor
    states: Tensor
    times: list[float]
    nfe: int


def stages(
    flow: Flow, cond: Any, n: int, *, seed: int, most: int = MOST_STATES, owner: str, **options: Any
) -> Stages:
    """Draw ``n`` samples of one condition and keep what they were on the way.

    They are those that ``flowprior sample --count n --seed seed`` draws.

    Args:
        flow: to draw from.
        cond: a caption, a condition of ``n`` rows, a mapping of parts of either, or None.
        n: number of samples.
        seed: of the source samples and a stochastic sampler's noise.
        most: states to keep, two or more; first and last are among them, the others lie evenly between.
        owner: named by messages.
        options: of :meth:`flowprior.Flow.solve`, such as ``nfe`` and ``guidance``.

    Raises:
        InputError: a condition that does not fit the flow.
        OptionError: an impossible option.
    """
    value = as_value(flow.words.read(cond, n, owner))
    solution = draw(flow, value, n if value is None else None, seed=seed, trajectory=True, **options)
    assert solution.trajectory is not None
    count = len(solution.trajectory)
    places = torch.linspace(0, count - 1, min(most, count), dtype=torch.float64).round().long()
    mean = prior_means(flow, None if value is None else rows(value, slice(1)))
    return Stages(mean, solution.trajectory[places], solution.times[places].tolist(), solution.nfe)


def draw(flow: Flow, cond: Conditions | None, n: int | None, *, seed: int, **options: Any) -> Solution:
    """Samples with a generator of their own; one seed gives one set of source samples, whatever ``nfe``."""
    generator = torch.Generator(flow.prior.event_dims.device).manual_seed(seed)
    solution = flow.solve(cond, n, generator=generator, batch_size=AT_ONCE, **options)
    check_samples(solution.x, "sample")
    return solution


def check_samples(x: Tensor, owner: str) -> None:
    """Refuse samples ``[N, *event]`` that are not finite.

    Raises:
        InputError: how many are not; ``owner`` is named.
    """
    bad = int((~torch.isfinite(x)).flatten(1).any(1).sum())
    if bad:
        raise InputError(
            f"{owner}: {bad} of {len(x)} generated samples have NaN or infinite numbers; use less guidance "
            "or a lower temperature, or train with a smaller learning rate"
        )


def prior_means(flow: Flow, cond: Conditions | None) -> Tensor:
    """The prior's mean for each condition, as events ``[B, *event]``; one without a condition."""
    device = flow.prior.event_dims.device
    return flow.decode(flow.prior.mean(None, 1) if cond is None else flow.prior.mean(moved(cond, device)))
