"""Heun's third-order method: order 3, three evaluations a step."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from flowprior.samplers.base import CountedVelocity, Sampler
from flowprior.samplers.fixed import FixedStepSampler


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
