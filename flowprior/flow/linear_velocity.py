"""The velocity that the first two moments of the pairs foretell: what is left is for the network to learn.

On the straight path with v0 = v1 and k = 0 its slope is g = (2t − 1)/((1 − t)² + t²);
:mod:`flowprior.flow.pair_moments` has the formula for every path and pair, and that of its average over an
interval, by which its own flow has a closed form.

A late start lets source samples go the first part of the way along that flow, without the network. Near t = 0
the velocity is all but the linear one, and a network that is asked there can say no more than the prior:
under a random pairing it answers with the mean of the condition, whatever the source sample, and a long step
of that loses the variance that samples ought to have. From t = 0 to the time ``start``, along each direction
of the prior's frame,

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
from flowprior.couplings import Coupling
from flowprior.flow.pair_moments import Chord, PairMoments, check_moments
from flowprior.paths import Path
from flowprior.priors import Prior
from flowprior.samplers import Solution
from flowprior.samplers.base import AverageOf

Solve = Callable[[Tensor, Conditions | None], Solution]
"""Integrates states ``[B, *event]`` under their condition from some time on to t = 1."""


class LinearVelocity:
    """E[u | x_t, c] of the pairs' first two moments; reads the prior at every call and keeps no weights.

    Args:
        prior: with a frame, such as ``latent-gmm``; fitted when it is called, not before.
        coupling: ``condot`` or ``posterior``, whose slope is known.
        path: any.

    Raises:
        OptionError: a prior or coupling whose moments are not known.
    """

    def __init__(self, prior: Prior, coupling: Coupling, path: Path) -> None:
        check_moments(prior, coupling)
        self.prior, self.coupling, self.path = prior, coupling, path

    def __call__(self, x: Tensor, t: Tensor, cond: Conditions | None) -> Tensor:
        """The linear velocity ``[B, *event]`` at x ``[B, *event]``, times ``[B]`` and the condition."""
        flat, moments = self._at(x, t, cond)
        return moments.velocity(flat).view_as(x).to(x.dtype)

    def average(self, x: Tensor, begin: Tensor, end: Tensor, cond: Conditions | None) -> Tensor:
        """Its average ``[B, *event]`` over the way from x at ``begin`` to ``end``, ``[B]`` each."""
        flat, moments = self._at(x, begin, cond)
        average = moments.average_velocity(flat, Chord.of(self.path, begin, end, flat.dtype))
        return average.view_as(x).to(x.dtype)

    def carrying(
        self, velocity: Tensor, x: Tensor, begin: Tensor, end: Tensor, cond: Conditions | None
    ) -> Tensor:
        """The average ``[B, *event]`` over intervals of a velocity whose nonlinear part does not change.

        The flow of the linear velocity carries along what that part adds on the way.

        Args:
            velocity: at the beginning, ``[B, *event]``.
            x: where the intervals begin, ``[B, *event]``.
            begin, end: of the intervals, ``[B]`` each.
            cond: of the rows.
        """
        flat, moments = self._at(x, begin, cond)
        chord = Chord.of(self.path, begin, end, flat.dtype)
        beyond = velocity.flatten(1).to(flat.dtype) - moments.velocity(flat)
        average = moments.average_velocity(flat, chord) + moments.carried(beyond, chord)
        return average.view_as(x).to(x.dtype)

    def _at(self, x: Tensor, t: Tensor, cond: Conditions | None) -> tuple[Tensor, PairMoments]:
        """x ``[B, D]`` and the moments of its pairs, in one dtype."""
        moments = PairMoments.at(self.prior, self.coupling, self.path, t, cond)
        return x.flatten(1).to(moments.frame.loc.dtype), moments


def averaging(prior: Prior, coupling: Coupling, path: Path) -> LinearVelocity:
    """The linear velocity, of which averages over intervals are asked.

    Raises:
        OptionError: the moments of the pairs are not known.
    """
    check_moments(
        prior,
        coupling,
        "the average velocity of an interval",
        "prediction 'average-velocity'",
        exact=True,
    )
    return LinearVelocity(prior, coupling, path)


def carried(x0: Tensor, cond: Conditions | None, time: float, foretold: AverageOf) -> Tensor:
    """Where source samples x0 ``[B, *event]`` are at ``time``, in [0, 1), along the linear velocity.

    Args:
        x0: at t = 0.
        cond: their conditions.
        time: to which they are carried.
        foretold: the average of the linear velocity over an interval.
    """
    end = x0.new_full((len(x0),), time)
    return x0 + time * foretold(x0, torch.zeros_like(end), end, cond)


def from_source(solve: Solve, start: float, foretold: AverageOf) -> Solve:
    """``solve``, which begins at the time ``start``, as one from source samples at t = 0."""
    if start == 0:
        return solve

    def solved(x0: Tensor, cond: Conditions | None) -> Solution:
        found = solve(carried(x0, cond, start, foretold), cond)
        states = None if found.trajectory is None else torch.cat([x0[None], found.trajectory])
        times = found.times[-1:] if states is None else found.times
        return Solution(found.x, found.nfe, torch.cat([times.new_zeros(1), times]), states)

    return solved
