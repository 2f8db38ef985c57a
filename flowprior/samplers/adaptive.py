"""Embedded Runge-Kutta methods that choose their own steps, through torchdiffeq."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.errors import OptionError
from flowprior.samplers.base import CountedVelocity, Sampler, Solution, Velocity
from flowprior.samplers.torchdiffeq import Limited, integrate


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
    method: ClassVar[str]

    def __init__(
        self, rtol: float = 1e-5, atol: float = 1e-5, max_nfe: int = 10_000, points: int = 21
    ) -> None:
        if not (rtol >= 0 and atol >= 0 and rtol + atol > 0):
            raise OptionError(f"sampler '{self.method}': rtol={rtol}, atol={atol}; choose them above 0")
        if max_nfe < 1 or points < 2:
            raise OptionError(
                f"sampler '{self.method}': max_nfe={max_nfe}, points={points}; "
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
        refuse_nfe(self.method, nfe, "rtol, atol and max_nfe")
        counted = CountedVelocity(velocity, cond)
        limited = Limited(lambda t, x: counted(x, t), f"sampler '{self.method}'", self.max_nfe)
        count = self.points if trajectory else 2
        times = torch.linspace(0.0, 1.0, count, dtype=x0.dtype, device=x0.device)
        states = integrate(limited, x0, times, method=self.method, rtol=self.rtol, atol=self.atol)
        return Solution(states[-1], counted.nfe, times, states if trajectory else None)


def refuse_nfe(method: str, nfe: int | None, instead: str) -> None:
    """Raise OptionError where a sampler that chooses its own number of evaluations is given one."""
    if nfe is not None:
        raise OptionError(
            f"sampler '{method}' chooses its own number of evaluations, got nfe={nfe}; leave nfe (--nfe) out "
            f"and set {instead}, or use a fixed-step sampler such as 'heun'"
        )


@Sampler.register("dopri5")
class Dopri5(AdaptiveSampler):
    """Dormand-Prince 5(4), the usual adaptive choice (Dormand & Prince 1980)."""

    method: ClassVar[str] = "dopri5"


@Sampler.register("dopri8")
class Dopri8(AdaptiveSampler):
    """Dormand-Prince 8(7), for tight tolerances (Prince & Dormand 1981)."""

    method: ClassVar[str] = "dopri8"


@Sampler.register("bosh3")
class Bosh3(AdaptiveSampler):
    """Bogacki-Shampine 3(2), for loose tolerances (Bogacki & Shampine 1989)."""

    method: ClassVar[str] = "bosh3"


@Sampler.register("fehlberg2")
class Fehlberg2(AdaptiveSampler):
    """Runge-Kutta-Fehlberg 2(1) (Fehlberg 1969)."""

    method: ClassVar[str] = "fehlberg2"


@Sampler.register("adaptive_heun")
class AdaptiveHeun(AdaptiveSampler):
    """Heun-Euler 2(1): Heun's method steered by its difference from Euler's."""

    method: ClassVar[str] = "adaptive_heun"
