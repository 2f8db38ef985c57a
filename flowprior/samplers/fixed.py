"""Methods of fixed steps, and the grids of times between which samplers step.

Grid, loop and count are shared. The methods are Euler's of order 1, the midpoint method and Heun's of order
2, Heun's of order 3, and the classical one of order 4 (Hairer, Nørsett & Wanner 1993, chapter II.1), and the
exponential Euler method, which integrates the linear part of the velocity exactly.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.couplings import Coupling
from flowprior.errors import OptionError
from flowprior.paths import Path
from flowprior.priors import Prior
from flowprior.registry import Registered, Registry
from flowprior.registry.options import check_numbers
from flowprior.samplers.base import LATEST_START, CountedVelocity, Sampler, Solution, Velocity, check_nfe

DEFAULT_NFE = 15
"""Evaluations spent where nobody says how many (the number the CPD paper reports at)."""

LAST_STEP = 1 - 1e-9
"""A step that ends later is the last one."""


class FixedStepSampler(Sampler):
    """Base class of one-step methods: ``nfe / stages`` steps over a time grid.

    Args:
        grid: name of a :class:`~flowprior.samplers.TimeGrid`: ``"uniform"``, ``"cosine"``, ``"power"`` or
            ``"last"``; or an instance.
        exponent: of the grid ``"power"``.
        at: of the grid ``"last"``.
        start: time of the first evaluation, from 0 to 0.999 and before ``at``. Up to it the linear velocity
            carries source samples, which costs none (:mod:`flowprior.couplings.pair_law`).

    Raises:
        OptionError: an unknown grid or option, or an impossible value.
    """

    starts_late: ClassVar[bool] = True
    stages: ClassVar[int]
    by_law: ClassVar[bool] = False
    """True if its steps ask for averages of the velocity that the law of the pairs gives."""

    def __init__(
        self,
        grid: str | TimeGrid = "uniform",
        exponent: float | None = None,
        at: float | None = None,
        start: float = 0.0,
    ) -> None:
        self._grid = make_grid(grid, exponent=exponent, at=at)
        self.grid, self.exponent, self.at = grid, exponent, at
        check_numbers("sampler", start=(start, 0.0, LATEST_START))
        if isinstance(self._grid, Last) and start >= self._grid.at:
            raise OptionError(
                f"sampler: start={start} is not possible with grid=last,at={self._grid.at}; choose it below "
                f"{self._grid.at}"
            )
        self.start = float(start)
        self.carries = self.start > 0

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
        counted, grid = CountedVelocity(velocity, cond), self.times(nfe)
        if self.carries:
            grid = torch.cat([grid.new_zeros(1), grid])

        def step(x: Tensor, t: float, end: float) -> Tensor:
            return counted.carried(x, t, end) if t < self.start else self.step(counted, x, t, end - t)

        x, times, states = along(grid, x0, step, trajectory)
        return Solution(x, counted.nfe, times, states)

    def prepare(
        self,
        path: Path,
        prior: Prior | None = None,
        coupling: Coupling | None = None,
        prediction: str = "",
        *,
        generator: torch.Generator | None = None,
    ) -> Sampler:
        """Return itself; a late start, and a method that goes by the law of the pairs, need one."""
        if (self.by_law or self.carries) and prior is not None and coupling is not None:
            late = f" with start={self.start:g}" if self.carries else ""
            other = "another sampler without start (--sampler euler)"
            coupling.require_law(prior, f"sampler '{self.name}'{late}", other)
            path.require_no_noise(f"sampler '{self.name}'{late}")
        return self

    def times(self, nfe: int | None) -> Tensor:
        """The times between which it steps, from :attr:`start` to 1, float64; see :meth:`steps`."""
        return self._grid.times_from(self.start, self.steps(nfe))

    def steps(self, nfe: int | None) -> int:
        """Return the number of steps that spend exactly ``nfe`` evaluations.

        Raises:
            OptionError: less than 1, or no multiple of the stages; the message names the nearest.
        """
        if nfe is None:
            return DEFAULT_NFE // self.stages
        check_nfe(f"sampler '{type(self).__name__.lower()}'", nfe)
        if nfe < 1 or nfe % self.stages:
            below = nfe // self.stages * self.stages
            nearest = f"{below} or {below + self.stages}" if below > 0 else str(self.stages)
            raise OptionError(
                f"sampler '{type(self).__name__.lower()}': nfe={nfe} cannot be spent exactly, a step takes "
                f"{self.stages}; choose {nearest}"
            )
        return nfe // self.stages


def along(
    grid: Tensor, x0: Tensor, step: Callable[[Tensor, float, float], Tensor], trajectory: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Step from each time of a grid to the next.

    Args:
        grid: times, ``[steps + 1]``.
        x0: the state at the first of them.
        step: from a state, its time and the next one to the state there.
        trajectory: whether all states are kept.

    Returns:
        The last state; the times that are kept, all or the two ends; all states ``[steps + 1, …]`` or None.
    """
    x, states = x0, [x0]
    for t, end in pairwise(grid.tolist()):
        x = step(x, t, end)
        if trajectory:
            states.append(x)
    if trajectory:
        return x, grid.to(x0), torch.stack(states)
    return x, grid[[0, -1]].to(x0), None


@Sampler.register("euler")
class Euler(FixedStepSampler):
    """Euler's method, order 1, one evaluation a step: x + h v(x, t)."""

    stages: ClassVar[int] = 1

    def step(self, velocity: CountedVelocity, x: Tensor, t: float, h: float) -> Tensor:
        return x + h * velocity(x, t)


@Sampler.register("midpoint")
class Midpoint(FixedStepSampler):
    """Explicit midpoint method, order 2, two evaluations a step (Hairer, Nørsett & Wanner, II.1)."""

    stages: ClassVar[int] = 2

    def step(self, velocity: CountedVelocity, x: Tensor, t: float, h: float) -> Tensor:
        middle = x + 0.5 * h * velocity(x, t)
        return x + h * velocity(middle, t + 0.5 * h)


@Sampler.register("heun")
class Heun(FixedStepSampler):
    """Heun's method (explicit trapezoid), order 2, two evaluations a step (Karras et al. 2022, alg. 1).

    The last step, too, evaluates the velocity at its end, t = 1; Karras et al. take a step of Euler's method
    there. The noise of the source cannot be read from x_1, so half of the noise that a long last step would
    remove stays in images. ``midpoint`` does not evaluate the velocity at t = 1.
    """

    stages: ClassVar[int] = 2

    def step(self, velocity: CountedVelocity, x: Tensor, t: float, h: float) -> Tensor:
        first = velocity(x, t)
        second = velocity(x + h * first, t + h)
        return x + 0.5 * h * (first + second)


@Sampler.register("heun3")
class Heun3(FixedStepSampler):
    """Heun's third-order method, order 3, three evaluations a step (Hairer, Nørsett & Wanner, II.1)."""

    stages: ClassVar[int] = 3

    def step(self, velocity: CountedVelocity, x: Tensor, t: float, h: float) -> Tensor:
        first = velocity(x, t)
        second = velocity(x + h / 3.0 * first, t + h / 3.0)
        third = velocity(x + 2.0 * h / 3.0 * second, t + 2.0 * h / 3.0)
        return x + 0.25 * h * (first + 3.0 * third)


@Sampler.register("rk4")
class RK4(FixedStepSampler):
    """Classical Runge-Kutta method, order 4, four evaluations a step (Hairer, Nørsett & Wanner, II.1)."""

    stages: ClassVar[int] = 4

    def step(self, velocity: CountedVelocity, x: Tensor, t: float, h: float) -> Tensor:
        first = velocity(x, t)
        second = velocity(x + 0.5 * h * first, t + 0.5 * h)
        third = velocity(x + 0.5 * h * second, t + 0.5 * h)
        fourth = velocity(x + h * third, t + h)
        return x + h / 6.0 * (first + 2.0 * second + 2.0 * third + fourth)


@Sampler.register("exponential")
class Exponential(FixedStepSampler):
    """Exponential Euler, order 1, one evaluation a step (Hochbruck & Ostermann 2010, section 2).

    Euler's method holds the velocity over a step. This one holds what the linear velocity of the pairs leaves
    of it, and solves the linear part and what it carries along in closed form
    (:meth:`flowprior.couplings.pair_law.PairLaw.average`). So a few steps lose less of the variance
    that samples ought to have. The last step is one of Euler's, from x_t to the mean of the data that it may
    lead to, which removes the noise that is left. It needs a prior and a coupling whose pairs have a known
    law, such as ``latent-gmm`` with ``posterior`` or ``learned-mean`` with ``condot``.
    """

    stages: ClassVar[int] = 1

    by_law: ClassVar[bool] = True

    def step(self, velocity: CountedVelocity, x: Tensor, t: float, h: float) -> Tensor:
        end = t if t + h > LAST_STEP else t + h
        return x + h * velocity.average(x, t, end)


class TimeGrid(Registered, abc.ABC):
    """Base class of time grids; with one step every grid is the one step from 0 to 1."""

    registry: ClassVar[Registry[Any]] = Registry("grid", "flowprior.grids")

    @abc.abstractmethod
    def times(self, steps: int) -> Tensor:
        """Times 0 = t_0 < … < t_steps = 1, float64 ``[steps + 1]``."""

    def times_from(self, start: float, steps: int) -> Tensor:
        """The grid on what is left of [0, 1], ``start`` = t_0 < … < t_steps = 1, float64 ``[steps + 1]``."""
        return start + (1.0 - start) * self.times(steps)


@TimeGrid.register("uniform")
class Uniform(TimeGrid):
    """Equal steps."""

    def times(self, steps: int) -> Tensor:
        return torch.linspace(0.0, 1.0, steps + 1, dtype=torch.float64)


@TimeGrid.register("cosine")
class Cosine(TimeGrid):
    """t = ½ (1 − cos πs) at equal s: short steps at both ends.

    There the velocity of a flow between a wide and a narrow law changes fastest.
    """

    def times(self, steps: int) -> Tensor:
        s = Uniform().times(steps)
        return 0.5 * (1.0 - torch.cos(torch.pi * s))


@TimeGrid.register("power")
class Power(TimeGrid):
    """t = 1 − (1 − s)^exponent at equal s: below 1 the steps grow toward the end, above 1 they shrink.

    Args:
        exponent: above 0; 1 gives equal steps.
    """

    def __init__(self, exponent: float = 0.5) -> None:
        check_numbers("grid 'power'", exponent=(exponent, 1e-3, 1e3))
        self.exponent = exponent

    def times(self, steps: int) -> Tensor:
        return 1.0 - (1.0 - Uniform().times(steps)) ** self.exponent


@TimeGrid.register("last")
class Last(TimeGrid):
    """Equal steps up to the time ``at``, then one step to the end; equal steps where those are as long.

    The last step is the longer one of 1 − at and 1/steps. A network that hardly sees the little noise that
    is left near the end removes it best in one step. More evaluations make the other steps shorter, but not
    the last one, so that they do not converge to the exact solution.

    Args:
        at: in (0, 1), where the last step begins.
    """

    def __init__(self, at: float = 0.6) -> None:
        check_numbers("grid 'last'", at=(at, 1e-3, 1 - 1e-3))
        self.at = at

    def times(self, steps: int) -> Tensor:
        return self.times_from(0.0, steps)

    def times_from(self, start: float, steps: int) -> Tensor:
        """Equal steps from ``start`` to ``at``, which stays where it is, or to 1 from a start beyond it."""
        equal = (1.0 - start) * (1 - 1 / steps)
        begin = min(self.at - start, equal) if start < self.at else equal
        before = start + begin * Uniform().times(max(steps - 1, 1))[:steps]
        return torch.cat([before, torch.ones(1, dtype=torch.float64)])


def time_grid(steps: int, grid: str = "uniform", **options: Any) -> Tensor:
    """Times 0 = t_0 < … < t_steps = 1, float64 ``[steps + 1]``.

    Args:
        steps: how many.
        grid: the name of a :class:`TimeGrid`.
        options: of that grid, such as ``exponent`` of ``"power"`` and ``at`` of ``"last"``.

    Raises:
        UnknownComponentError: no such grid.
        OptionError: an option that this grid does not have, or an impossible value.
    """
    return make_grid(grid, **options).times(steps)


def make_grid(grid: str | TimeGrid, **options: float | None) -> TimeGrid:
    """The grid of a sampler's options: those that are None were not given.

    Raises:
        UnknownComponentError: no such grid.
        OptionError: an option that this grid does not have, or an impossible value.
    """
    if isinstance(grid, TimeGrid):
        return grid
    return TimeGrid.create(grid, **{name: value for name, value in options.items() if value is not None})
