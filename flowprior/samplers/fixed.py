"""Methods of fixed steps: the grid, the loop and the count that they share, and their steps.

Euler's method of order 1, the midpoint method and Heun's of order 2, Heun's of order 3, and the classical
method of order 4 (Hairer, Nørsett & Wanner 1993, chapter II.1); the exponential Euler method, which
integrates the linear part of the velocity exactly.
"""

from __future__ import annotations

import abc
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.errors import OptionError
from flowprior.registry import check_numbers
from flowprior.samplers.base import CountedVelocity, Sampler, Solution, Velocity, check_nfe
from flowprior.samplers.grids import Last, TimeGrid, make_grid

DEFAULT_NFE = 15
"""Evaluations spent where nobody says how many (the number the CPD paper reports at)."""

LATEST_START = 0.999
"""The latest time of the first evaluation: a network has to have some time left."""

LAST_STEP = 1 - 1e-9
"""A step that ends later is the last one."""


class FixedStepSampler(Sampler):
    """Base class of one-step methods: ``nfe / stages`` steps over a time grid.

    Args:
        grid: name of a :class:`~flowprior.samplers.TimeGrid`: ``"uniform"``, ``"cosine"``, ``"power"`` or
            ``"last"``; or an instance.
        exponent: of the grid ``"power"``.
        at: of the grid ``"last"``.
        start: time of the first evaluation, from 0 to 0.999 and before ``at``. Up to it a flow carries its
            source samples along the linear velocity, which costs none
            (:mod:`flowprior.flow.linear_velocity`); 0 leaves nothing to it.

    Raises:
        OptionError: an unknown grid or option, or an impossible value.
    """

    stages: ClassVar[int]
    order: ClassVar[int]

    def __init__(
        self,
        grid: str | TimeGrid = "uniform",
        exponent: float | None = None,
        at: float | None = None,
        start: float = 0.0,
    ) -> None:
        self._grid = make_grid(grid, exponent=exponent, at=at)
        self.grid, self.exponent, self.at = grid, exponent, at
        self.start = _checked_start(start, self._grid)

    @abc.abstractmethod
    def step(self, velocity: CountedVelocity, x: Tensor, t: float, h: float) -> Tensor:
        """The state at t + h from the state ``x`` at t, spending ``stages`` evaluations."""

    def solve(
        self,
        velocity: Velocity,
        x0: Tensor,
        cond: Conditions | None = None,
        *,
        nfe: int | None = None,
        trajectory: bool = False,
    ) -> Solution:
        """See :meth:`Sampler.solve`; ``nfe=None`` spends the most that fits into 15 evaluations."""
        grid = self.times(nfe)
        counted = CountedVelocity(velocity, cond)
        times = grid.tolist()
        states = [x0]
        for t, end in pairwise(times):
            x = self.step(counted, states[-1], t, end - t)
            states = [*states, x] if trajectory else [x]
        kept = grid if trajectory else grid[[0, -1]]
        path = torch.stack(states) if trajectory else None
        return Solution(states[-1], counted.nfe, kept.to(x0), path)

    def times(self, nfe: int | None) -> Tensor:
        """The times between which it steps, from :attr:`start` to 1, float64; see :meth:`steps`."""
        return self._grid.times_from(self.start, self.steps(nfe))

    def steps(self, nfe: int | None) -> int:
        """Number of steps that spend exactly ``nfe`` evaluations.

        Raises:
            OptionError: less than 1, or no multiple of the stages; the message names the nearest.
        """
        if nfe is None:
            return DEFAULT_NFE // self.stages
        check_nfe(f"sampler '{type(self).__name__.lower()}'", nfe)
        if nfe < 1 or nfe % self.stages:
            raise OptionError(
                f"sampler '{type(self).__name__.lower()}': nfe={nfe} cannot be spent exactly, a step takes "
                f"{self.stages}; choose {self._nearest(nfe)}"
            )
        return nfe // self.stages

    def _nearest(self, nfe: int) -> str:
        below = nfe // self.stages * self.stages
        return f"{below} or {below + self.stages}" if below > 0 else str(self.stages)


@Sampler.register("euler")
class Euler(FixedStepSampler):
    """Euler's method, order 1, one evaluation a step: x + h v(x, t)."""

    stages: ClassVar[int] = 1
    order: ClassVar[int] = 1

    def step(self, velocity: CountedVelocity, x: Tensor, t: float, h: float) -> Tensor:
        return x + h * velocity(x, t)


@Sampler.register("midpoint")
class Midpoint(FixedStepSampler):
    """Explicit midpoint method, order 2, two evaluations a step (Hairer, Nørsett & Wanner, II.1)."""

    stages: ClassVar[int] = 2
    order: ClassVar[int] = 2

    def step(self, velocity: CountedVelocity, x: Tensor, t: float, h: float) -> Tensor:
        middle = x + 0.5 * h * velocity(x, t)
        return x + h * velocity(middle, t + 0.5 * h)


@Sampler.register("heun")
class Heun(FixedStepSampler):
    """Heun's method (explicit trapezoid), order 2, two evaluations a step (Karras et al. 2022, alg. 1)."""

    stages: ClassVar[int] = 2
    order: ClassVar[int] = 2

    def step(self, velocity: CountedVelocity, x: Tensor, t: float, h: float) -> Tensor:
        first = velocity(x, t)
        second = velocity(x + h * first, t + h)
        return x + 0.5 * h * (first + second)


@Sampler.register("heun3")
class Heun3(FixedStepSampler):
    """Heun's third-order method, order 3, three evaluations a step (Hairer, Nørsett & Wanner, II.1)."""

    stages: ClassVar[int] = 3
    order: ClassVar[int] = 3

    def step(self, velocity: CountedVelocity, x: Tensor, t: float, h: float) -> Tensor:
        first = velocity(x, t)
        second = velocity(x + h / 3.0 * first, t + h / 3.0)
        third = velocity(x + 2.0 * h / 3.0 * second, t + 2.0 * h / 3.0)
        return x + 0.25 * h * (first + 3.0 * third)


@Sampler.register("rk4")
class RK4(FixedStepSampler):
    """Classical Runge-Kutta method, order 4, four evaluations a step (Hairer, Nørsett & Wanner, II.1)."""

    stages: ClassVar[int] = 4
    order: ClassVar[int] = 4

    def step(self, velocity: CountedVelocity, x: Tensor, t: float, h: float) -> Tensor:
        first = velocity(x, t)
        second = velocity(x + 0.5 * h * first, t + 0.5 * h)
        third = velocity(x + 0.5 * h * second, t + 0.5 * h)
        fourth = velocity(x + h * third, t + h)
        return x + h / 6.0 * (first + 2.0 * second + 2.0 * third + fourth)


@Sampler.register("exponential")
class Exponential(FixedStepSampler):
    """Exponential Euler, order 1, one evaluation a step (Hochbruck & Ostermann 2010, section 2).

    Euler's method holds the velocity over a step. This one holds what the linear velocity of the pairs'
    moments leaves of it, and solves the linear part and what it carries along in closed form
    (:meth:`flowprior.flow.linear_velocity.LinearVelocity.carrying`). So a few steps lose less of the variance
    that samples ought to have. The last step is one of Euler's, from x_t to the mean of the data that it may
    lead to, which removes the noise that is left. It needs a prior and a coupling that tell their moments,
    such as ``latent-gmm`` with ``posterior`` or ``learned-mean`` with ``condot``, and a flow whose network
    learns no averages itself.
    """

    stages: ClassVar[int] = 1
    order: ClassVar[int] = 1
    bends_by_moments: ClassVar[bool] = True

    def step(self, velocity: CountedVelocity, x: Tensor, t: float, h: float) -> Tensor:
        end = t if t + h > LAST_STEP else t + h
        return x + h * velocity.average(x, t, end)


def _checked_start(start: float, grid: TimeGrid) -> float:
    """The time of the first evaluation, as a plain number.

    Raises:
        OptionError: outside of [0, 0.999], or not before the last step of the grid ``last``.
    """
    check_numbers("sampler", start=(start, 0.0, LATEST_START))
    if isinstance(grid, Last) and start >= grid.at:
        raise OptionError(
            f"sampler: start={start} is not possible with grid=last,at={grid.at}; choose it below {grid.at}"
        )
    return float(start)
