"""Samplers through torchdiffeq: embedded Runge-Kutta methods that choose their own steps.

This is the one door to torchdiffeq, also for what else is integrated (:func:`integrate`): limits, time's
dtype and errors that say what to do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.errors import OptionError
from flowprior.samplers.base import CountedVelocity, Sampler, Solution, Velocity

State = Any
"""A tensor, or a tuple of tensors with a separate error norm each."""


class AdaptiveSampler(Sampler):
    """Base class of adaptive samplers.

    The error that steers the steps is a norm over the whole batch, so a sample depends, within the
    tolerance, on what it is solved together with.

    Args:
        rtol: relative tolerance.
        atol: absolute tolerance.
        max_nfe: evaluations after which to give up.
        points: number of equal times in [0, 1] at which a trajectory is reported.
    """

    adaptive: ClassVar[bool] = True
    starts_late: ClassVar[bool] = True

    def __init__(
        self, rtol: float = 1e-5, atol: float = 1e-5, max_nfe: int = 10_000, points: int = 21
    ) -> None:
        if not (rtol >= 0 and atol >= 0 and rtol + atol > 0):
            raise OptionError(f"sampler '{self.name}': rtol={rtol}, atol={atol}; choose them above 0")
        if max_nfe < 1 or points < 2:
            raise OptionError(
                f"sampler '{self.name}': max_nfe={max_nfe}, points={points}; "
                "choose max_nfe >= 1 and points >= 2"
            )
        self.rtol = rtol
        self.atol = atol
        self.max_nfe = max_nfe
        self.points = points

    def solve(
        self,
        velocity: Velocity,
        x0: Tensor,
        cond: Conditions | None = None,
        *,
        nfe: int | None = None,
        trajectory: bool = False,
    ) -> Solution:
        """See :meth:`Sampler.solve`; OptionError also where the step underflows or ``max_nfe`` is spent."""
        if nfe is not None:
            raise OptionError(
                f"sampler '{self.name}' chooses its own number of evaluations, got nfe={nfe}; leave nfe "
                "(--nfe) out and set rtol, atol and max_nfe, or use a fixed-step sampler such as 'heun'"
            )
        counted = CountedVelocity(velocity, cond)
        limited = Limited(lambda t, x: counted(x, t), f"sampler '{self.name}'", self.max_nfe)
        points = self.points if trajectory else 2
        times = torch.linspace(self.start, 1.0, points, dtype=x0.dtype, device=x0.device)
        states = integrate(limited, x0, times, method=self.name, rtol=self.rtol, atol=self.atol)
        return Solution(states[-1], counted.nfe, times, states if trajectory else None)


@Sampler.register("dopri5")
class Dopri5(AdaptiveSampler):
    """Dormand-Prince 5(4), the usual adaptive choice (Dormand & Prince 1980)."""


@Sampler.register("dopri8")
class Dopri8(AdaptiveSampler):
    """Dormand-Prince 8(7), for tight tolerances (Prince & Dormand 1981)."""


@Sampler.register("bosh3")
class Bosh3(AdaptiveSampler):
    """Bogacki-Shampine 3(2), for loose tolerances (Bogacki & Shampine 1989)."""


class Limited:
    """A right-hand side f(t, state) with its time kept in [0, 1] and its evaluations counted and limited."""

    def __init__(self, function: Callable[[Tensor, State], State], owner: str, max_nfe: int) -> None:
        self.function = function
        self.owner = owner
        self.max_nfe = max_nfe
        self.nfe = 0
        self.time = 0.0

    def __call__(self, t: Tensor, state: State) -> State:
        if self.nfe >= self.max_nfe:
            raise OptionError(
                f"{self.owner}: spent max_nfe={self.max_nfe} evaluations and came to t={self.time:.4g} of 1; "
                "raise max_nfe, or loosen rtol and atol"
            )
        self.nfe += 1
        t = t.clamp(0.0, 1.0)
        self.time = float(t.detach()) if t.isfinite() else self.time
        return self.function(t, state)


def integrate(
    function: Limited, state: State, times: Tensor, *, method: str, rtol: float, atol: float
) -> State:
    """States at ``times`` (increasing, to 1), stacked in front, by an adaptive method.

    Time has the dtype of the state, so devices without float64 work, and the last step ends at t = 1
    exactly: the velocity is never asked for beyond it.

    Raises:
        OptionError: the step size underflows, or ``max_nfe`` evaluations are spent.
    """
    from torchdiffeq import odeint

    if (state if isinstance(state, Tensor) else state[0]).numel() == 0:
        return _stacked(state, len(times))
    options = {"dtype": times.dtype, "step_t": times[-1:]}
    try:
        return odeint(function, state, times, rtol=rtol, atol=atol, method=method, options=options)
    except AssertionError as error:  # torchdiffeq's way of giving up
        reason = str(error).splitlines()[0][:60]
        dtype = str(times.dtype).removeprefix("torch.")
        raise OptionError(
            f"{function.owner}: gave up at t={function.time:.4g} ({reason}); "
            f"the velocity is not finite there or rtol={rtol:g}, atol={atol:g} is too tight for {dtype}; "
            "loosen them or solve in float64"
        ) from error


def _stacked(state: State, times: int) -> State:
    """A state that does not move, ``times`` times in front: torchdiffeq cannot step an empty batch."""
    if isinstance(state, Tensor):
        return state.expand(times, *state.shape)
    return tuple(_stacked(part, times) for part in state)
