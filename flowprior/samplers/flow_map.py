"""Flow map: whole steps by average velocities."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from flowprior.samplers.base import CountedVelocity, Sampler
from flowprior.samplers.fixed import FixedStepSampler


@Sampler.register("flow-map", aliases=("meanflow",))
class FlowMap(FixedStepSampler):
    """x_s = x_t + (s − t) ū(x_t, t, s), one evaluation a step (MeanFlow, arXiv 2505.13447, eq. 12).

    For flows that predict the ``average-velocity``, over the times of a grid.
    """

    stages: ClassVar[int] = 1
    order: ClassVar[int] = 1
    over_intervals: ClassVar[bool] = True

    def step(self, velocity: CountedVelocity, x: Tensor, t: float, h: float) -> Tensor:
        interval = torch.tensor([t, t + h], dtype=x.dtype, device=x.device)
        return x + h * velocity(x, interval)
