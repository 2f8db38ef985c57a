"""A late start: source samples go the first part of the way without the network.

Near t = 0 the velocity is all but the linear one of the pairs' first two moments
(:mod:`flowprior.flow.linear_velocity`), and a network that is asked there can say no more than the prior:
under a random pairing it answers with the mean of the condition, whatever the source sample, and a long step
of that loses the variance that samples ought to have. The linear velocity's own flow has a closed form. From
t = 0 to the time ``start``, along each direction of the prior's frame,

    x_start = E[x_start] + (s_start/s_0) (x_0 − E[x_0]),   s_t² = Var[x_t],

so that the first two moments of x_start are nearly those of the pairs: where the variance outside of the axes
is the same everywhere, and above its least value (:mod:`flowprior.flow.pair_moments`). Its law is theirs
where pairs are jointly Gaussian. All evaluations are spent on what is left of the way. Guidance moves the
linear velocity as it moves the network's.

Diffusion models start late from a law that some other model gives them (Lyu et al. 2022, arXiv 2205.12524;
Zheng et al. 2022, arXiv 2202.09671); here the prior gives it, for it is fitted to the data.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.samplers import Solution, Velocity

Solve = Callable[[Tensor, Conditions | None], Solution]
"""Integrates states ``[B, *event]`` under their condition from some time on to t = 1."""


def carried(x0: Tensor, cond: Conditions | None, time: float, foretold: Velocity) -> Tensor:
    """Where source samples x0 ``[B, *event]`` are at ``time``, in [0, 1), along the linear velocity.

    Args:
        x0: at t = 0.
        cond: their conditions.
        time: to which they are carried.
        foretold: the average of the linear velocity, asked for x ``[B, *event]``, intervals ``[B, 2]`` and
            the condition.
    """
    interval = x0.new_tensor([0.0, time]).expand(len(x0), 2)
    return x0 + time * foretold(x0, interval, cond)


def from_source(solve: Solve, start: float, foretold: Velocity) -> Solve:
    """``solve``, which begins at the time ``start``, as one from source samples at t = 0."""
    if start == 0:
        return solve

    def solved(x0: Tensor, cond: Conditions | None) -> Solution:
        found = solve(carried(x0, cond, start, foretold), cond)
        source = found.times.new_zeros(1)
        if found.trajectory is None:
            return Solution(found.x, found.nfe, torch.cat([source, found.times[-1:]]))
        path = torch.cat([x0[None], found.trajectory])
        return Solution(found.x, found.nfe, torch.cat([source, found.times]), path)

    return solved
