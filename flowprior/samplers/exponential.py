"""The exponential Euler method: the linear part of a velocity is integrated exactly."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from flowprior.samplers.base import CountedVelocity, Sampler
from flowprior.samplers.fixed import FixedStepSampler

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
