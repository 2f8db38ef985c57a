"""Flow map: whole steps by average velocities."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from flowprior.samplers.base import CountedVelocity, Sampler
from flowprior.samplers.fixed import FixedStepSampler
from flowprior.samplers.grids import Last, Uniform


@Sampler.register("flow-map", aliases=("meanflow",))
class FlowMap(FixedStepSampler):
    """x_s = x_t + (s − t) ū(x_t, t, s), one evaluation a step (MeanFlow, arXiv 2505.13447, eq. 12).

    For flows that predict the ``average-velocity``, over the times of a grid. An average has no error however
    long its step is: on the grid ``last`` all steps but the last one share the time up to ``at``, where a
    step of the velocity itself leads to the end.
    """

    stages: ClassVar[int] = 1
    order: ClassVar[int] = 1
    over_intervals: ClassVar[bool] = True

    def times(self, nfe: int | None) -> Tensor:
        steps = self.steps(nfe)
        if not isinstance(self._grid, Last) or steps == 1:
            return self._grid.times_from(self.start, steps)
        before = self.start + (self._grid.at - self.start) * Uniform().times(steps - 1)
        return torch.cat([before, torch.ones(1, dtype=torch.float64)])

    def step(self, velocity: CountedVelocity, x: Tensor, t: float, h: float) -> Tensor:
        by_velocity = isinstance(self._grid, Last) and t >= self._grid.at
        interval = torch.tensor([t, t if by_velocity else t + h], dtype=x.dtype, device=x.device)
        return x + h * velocity(x, interval)
