"""A late start: source samples go the first part of the way without the network.

Near t = 0 the velocity is all but the linear one of the pairs' first two moments
(:mod:`flowprior.flow.linear_velocity`), and a network that is asked there can say no more than the prior:
under a random pairing it answers with the mean of the condition, whatever the source sample, and a long step
of that loses the variance that samples ought to have. The linear velocity's own flow has a closed form. From
t = 0 to the time ``start``, along each direction of the prior's frame,

    x_start = E[x_start] + (s_start/s_0) (x_0 − E[x_0]),   s_t² = Var[x_t],

the first two moments of x_start are those of the pairs, exactly where pairs are jointly Gaussian
(:mod:`flowprior.flow.pair_moments`). All evaluations are spent on what is left of the way.

Diffusion models start late from a law that some other model gives them (Lyu et al. 2022, arXiv 2205.12524;
Zheng et al. 2022, arXiv 2202.09671); here the prior gives it, for it is fitted to the data.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.couplings import Coupling
from flowprior.flow.linear_velocity import LinearVelocity
from flowprior.paths import Path
from flowprior.priors import Prior
from flowprior.samplers import Solution

Solve = Callable[[Tensor, Conditions | None], Solution]
"""Integrates states ``[B, *event]`` under their condition from some time on to t = 1."""


class LateStart:
    """Carries source samples to a time along the linear velocity; reads the prior and keeps no weights.

    Args:
        linear: the linear velocity of the flow's pairs.
        time: in [0, 1), to which they are carried.
    """

    def __init__(self, linear: LinearVelocity, time: float) -> None:
        self.linear, self.time = linear, time

    def __call__(self, x0: Tensor, cond: Conditions | None) -> Tensor:
        """Where source samples x0 ``[B, *event]`` are at the time."""
        begin = x0.new_zeros(len(x0))
        end = torch.full_like(begin, self.time)
        return x0 + self.time * self.linear.average(x0, begin, end, cond)

    def solved(self, solve: Solve, x0: Tensor, cond: Conditions | None) -> Solution:
        """The solution from source samples at t = 0: first to the time, then on by ``solve``."""
        found = solve(self(x0, cond), cond)
        source = found.times.new_zeros(1)
        if found.trajectory is None:
            return Solution(found.x, found.nfe, torch.cat([source, found.times[-1:]]))
        path = torch.cat([x0[None], found.trajectory])
        return Solution(found.x, found.nfe, torch.cat([source, found.times]), path)


def from_source(solve: Solve, start: float, prior: Prior, coupling: Coupling, path: Path) -> Solve:
    """``solve``, which begins at the time ``start``, as one from source samples at t = 0."""
    if start == 0:
        return solve
    return partial(LateStart(LinearVelocity(prior, coupling, path), start).solved, solve)
