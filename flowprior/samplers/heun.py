"""Heun's method: order 2, two evaluations a step."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from flowprior.samplers.base import CountedVelocity, Sampler
from flowprior.samplers.fixed import FixedStepSampler


@Sampler.register("heun")
class Heun(FixedStepSampler):
    """Heun's method (explicit trapezoid), order 2, two evaluations a step (Karras et al. 2022, alg. 1)."""

    stages: ClassVar[int] = 2
    order: ClassVar[int] = 2

    def step(self, velocity: CountedVelocity, x: Tensor, t: float, h: float) -> Tensor:
        first = velocity(x, t)
        second = velocity(x + h * first, t + h)
        return x + 0.5 * h * (first + second)
