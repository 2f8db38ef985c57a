"""TimeGrid: the times between which a sampler steps, from 0 to 1, for any number of steps."""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import torch
from torch import Tensor

from flowprior.registry import Registered, Registry, check_numbers


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
        """Equal steps from ``start`` to ``at``, which is later and stays where it is; see :meth:`times`."""
        left = 1.0 - start
        begin = min(self.at - start, left * (1 - 1 / steps))
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
