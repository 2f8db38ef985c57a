"""Euler's method: order 1, one evaluation a step."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from flowprior.samplers.base import CountedVelocity, Sampler
from flowprior.samplers.fixed import FixedStepSampler


@Sampler.register("euler")
class Euler(FixedStepSampler):
    """Euler's method, order 1, one evaluation a step: x + h v(x, t)."""

    stages: ClassVar[int] = 1
    order: ClassVar[int] = 1

    def step(self, velocity: CountedVelocity, x: Tensor, t: float, h: float) -> Tensor:
        return x + h * velocity(x, t)
