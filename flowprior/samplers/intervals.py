"""Samplers that ask for average velocities, over an interval: the flow map, and the exponential Euler method.

The flow map takes averages that a network has learned. The exponential Euler method makes them of velocities:
their linear part is integrated exactly.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from flowprior.samplers.base import CountedVelocity, Sampler
from flowprior.samplers.fixed import FixedStepSampler, Last, Uniform


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


LAST_STEP = 1 - 1e-9
"""A step that ends later is the last one."""


@Sampler.register("exponential")
class Exponential(FixedStepSampler):
    """Exponential Euler, order 1, one evaluation a step (Hochbruck & Ostermann 2010, section 2).

    Euler's method holds the velocity over a step. This one holds what the linear velocity of the pairs'
    moments leaves of it, and solves the linear part and what it carries along in closed form
    (:meth:`flowprior.flow.linear_velocity.LinearVelocity.carrying`). So a few steps lose less of the variance
    that samples ought to have. The last step is one of Euler's, from x_t to the mean of the data that it may
    lead to, which removes the noise that is left. It needs a prior and a coupling that tell their moments,
    such as ``latent-gmm`` with ``posterior`` or ``learned-mean`` with ``condot``, and a flow that predicts
    velocities: averages that are learned are taken by ``flow-map``.
    """

    stages: ClassVar[int] = 1
    order: ClassVar[int] = 1
    over_intervals: ClassVar[bool] = True
    bends_by_moments: ClassVar[bool] = True

    def step(self, velocity: CountedVelocity, x: Tensor, t: float, h: float) -> Tensor:
        end = t if t + h > LAST_STEP else t + h
        return x + h * velocity(x, torch.tensor([t, end], dtype=x.dtype, device=x.device))
