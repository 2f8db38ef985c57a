"""The one door to torchdiffeq: limits, time's dtype and errors that say what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from flowprior.errors import OptionError

State = Any
"""A tensor, or a tuple of tensors with a separate error norm each."""


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

    if _is_empty(state):
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


def _is_empty(state: State) -> bool:
    return (state if isinstance(state, Tensor) else state[0]).numel() == 0


def _stacked(state: State, times: int) -> State:
    """A state that does not move, ``times`` times in front: torchdiffeq cannot step an empty batch."""
    if isinstance(state, Tensor):
        return state.expand(times, *state.shape)
    return tuple(_stacked(part, times) for part in state)
