"""Samplers through torchdiffeq: embedded Runge-Kutta methods that choose their own steps, and Adams methods.

This is the one door to torchdiffeq, also for what else is integrated (:func:`integrate`): limits, time's
dtype and errors that say what to do.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.errors import OptionError
from flowprior.samplers.base import CountedVelocity, Sampler, Solution, Velocity, check_nfe
from flowprior.samplers.fixed import DEFAULT_NFE

State = Any
"""A tensor, or a tuple of tensors with a separate error norm each."""
STARTERS = 2
"""Steps of an Adams method that a fourth-order Runge-Kutta method takes, until the history is long enough."""
RUNGE_KUTTA_EVALUATIONS = 4


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
        _refuse_nfe(self.name, nfe, "rtol, atol and max_nfe")
        counted = CountedVelocity(velocity, cond)
        limited = Limited(lambda t, x: counted(x, t), f"sampler '{self.name}'", self.max_nfe)
        times = torch.linspace(0.0, 1.0, self.points if trajectory else 2, dtype=x0.dtype, device=x0.device)
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


@Sampler.register("fehlberg2")
class Fehlberg2(AdaptiveSampler):
    """Runge-Kutta-Fehlberg 2(1) (Fehlberg 1969)."""


@Sampler.register("adaptive_heun")
class AdaptiveHeun(AdaptiveSampler):
    """Heun-Euler 2(1): Heun's method steered by its difference from Euler's."""


class AdamsSampler(Sampler):
    """Base class: equal steps, the first two by Runge-Kutta, then three past velocities."""

    rtol: float = 1e-6

    def solve(
        self,
        velocity: Velocity,
        x0: Tensor,
        cond: Conditions | None = None,
        *,
        nfe: int | None = None,
        trajectory: bool = False,
    ) -> Solution:
        """See :meth:`Sampler.solve`; the class says which ``nfe`` can be spent."""
        from torchdiffeq import odeint

        steps, counted = self.count(nfe), CountedVelocity(velocity, cond)
        times = torch.linspace(0.0, 1.0, steps + 1, dtype=x0.dtype, device=x0.device)
        states = odeint(
            lambda t, x: counted(x, t),
            x0,
            times,
            method=self.name,
            rtol=self.rtol,
            options={"max_order": 4},
        )
        kept = times if trajectory else times[[0, -1]]
        return Solution(states[-1], counted.nfe, kept, states if trajectory else None)  # type: ignore[index]

    @abc.abstractmethod
    def count(self, nfe: int | None) -> int:
        """Return the number of steps that spend exactly ``nfe`` evaluations.

        Raises:
            OptionError: no number of steps does; the message names the nearest.
        """


@Sampler.register("explicit_adams")
class ExplicitAdams(AdamsSampler):
    """Adams-Bashforth, order 3, one evaluation a step after two Runge-Kutta steps of four.

    Spends exactly ``nfe`` evaluations: 4, or 8 and more.
    """

    def count(self, nfe: int | None) -> int:
        nfe = DEFAULT_NFE if nfe is None else nfe
        check_nfe("sampler 'explicit_adams'", nfe)
        if nfe == RUNGE_KUTTA_EVALUATIONS:
            return 1
        if nfe < STARTERS * RUNGE_KUTTA_EVALUATIONS:
            nearest = "4" if nfe < RUNGE_KUTTA_EVALUATIONS else "4 or 8"
            raise OptionError(
                f"sampler 'explicit_adams': nfe={nfe} cannot be spent exactly, its first two steps take 4 "
                f"each; choose {nearest}"
            )
        return nfe - STARTERS * (RUNGE_KUTTA_EVALUATIONS - 1)


@Sampler.register("implicit_adams")
class ImplicitAdams(AdamsSampler):
    """Adams-Bashforth-Moulton, order 4: predict, then correct until it settles (at most four times).

    The evaluations are counted, not chosen.

    Args:
        steps: number of equal steps; how often each is corrected decides the evaluations.
        rtol: change of a step, relative to the state, at which its correction has settled.
    """

    adaptive: ClassVar[bool] = True

    def __init__(self, steps: int = 20, rtol: float = 1e-6) -> None:
        if steps < 1 or not rtol > 0:
            raise OptionError(
                f"sampler 'implicit_adams': steps={steps}, rtol={rtol} is not possible; choose both above 0"
            )
        self.steps = steps
        self.rtol = rtol

    def count(self, nfe: int | None) -> int:
        _refuse_nfe(self.name, nfe, "steps and rtol")
        return self.steps


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
        self.time = float(t) if t.isfinite() else self.time
        return self.function(t, state)


def integrate(
    function: Limited, state: State, times: Tensor, *, method: str, rtol: float, atol: float
) -> State:
    """States at ``times`` (increasing, from 0 to 1), stacked in front, by an adaptive method.

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


def _refuse_nfe(method: str, nfe: int | None, instead: str) -> None:
    """Raise OptionError where a sampler that chooses its own number of evaluations is given one."""
    if nfe is not None:
        raise OptionError(
            f"sampler '{method}' chooses its own number of evaluations, got nfe={nfe}; leave nfe (--nfe) out "
            f"and set {instead}, or use a fixed-step sampler such as 'heun'"
        )
