"""The classical Runge-Kutta method: order 4, four evaluations a step."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from flowprior.samplers.base import CountedVelocity, Sampler
from flowprior.samplers.fixed import FixedStepSampler


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
