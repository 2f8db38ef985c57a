"""A timestep distribution and a weight of the loss for flows of few evaluations (Lee et al. 2024)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowprior.ops import flow_matching_loss
from flowprior.registry.options import check_numbers
from flowprior.training.objective import LossWeight, TimeDistribution


@TimeDistribution.register("u-shaped")
class UShapedTimes(TimeDistribution):
    """Density ∝ exp(steepness t) + exp(steepness (1 − t)): more of both ends (Lee et al. 2024, section 4.1).

    Args:
        steepness: above 0.
    """

    def __init__(self, steepness: float = 4.0) -> None:
        check_numbers("time distribution 'u-shaped'", steepness=(steepness, 1e-3, 50))
        self.steepness = steepness

    def at(self, uniform: Tensor) -> Tensor:
        return 0.5 + torch.asinh((2 * uniform - 1) * math.sinh(self.steepness / 2)) / self.steepness


@LossWeight.register("adaptive")
class AdaptiveWeight(LossWeight):
    """(e + floor)^(−power) for an event of mean squared error e: events with large errors count less.

    With power ½ the gradient is that of the pseudo-Huber loss (Lee et al. 2024, arXiv 2405.20320, section
    4.2), with 1 that of the logarithm of the error, which MeanFlow takes (arXiv 2505.13447, eq. 22).

    Args:
        power: in [0, 2].
        floor: above 0; errors far below it count alike.
    """

    def __init__(self, power: float = 1.0, floor: float = 1e-3) -> None:
        check_numbers("loss weight 'adaptive'", power=(power, 0, 2), floor=(floor, 1e-12, 1e12))
        self.power, self.floor = power, floor

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        errors = flow_matching_loss(output.detach(), target.detach(), reduction="none")
        return flow_matching_loss(output, target, (errors + self.floor).pow(-self.power))
