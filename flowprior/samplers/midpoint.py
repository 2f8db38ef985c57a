"""The explicit midpoint method: order 2, two evaluations a step."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from flowprior.samplers.base import CountedVelocity, Sampler
from flowprior.samplers.fixed import FixedStepSampler


@Sampler.register("midpoint")
class Midpoint(FixedStepSampler):
    """Explicit midpoint method, order 2, two evaluations a step (Hairer, Nørsett & Wanner, II.1)."""

    stages: ClassVar[int] = 2
    order: ClassVar[int] = 2

    def step(self, velocity: CountedVelocity, x: Tensor, t: float, h: float) -> Tensor:
        middle = x + 0.5 * h * velocity(x, t)
        return x + h * velocity(middle, t + 0.5 * h)
