"""The objective of training: the distribution of its timesteps, and the weights of its squared errors."""

from __future__ import annotations

import abc
import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from flowprior.errors import OptionError
from flowprior.flow.predictions import SINGLE_TIMES, Prediction
from flowprior.ops import flow_matching_loss
from flowprior.registry import Registered, Registry
from flowprior.registry.options import check_numbers


class TimeDistribution(Registered, abc.ABC):
    """The base class of the distributions of t ∈ [0, 1]; named by ``training.time``."""

    registry: ClassVar[Registry[Any]] = Registry("time distribution", "flowprior.times")

    draws: ClassVar[str] = SINGLE_TIMES
    """The name of what it draws, which a prediction has to be trained on."""

    @abc.abstractmethod
    def at(self, uniform: Tensor) -> Tensor:
        """Return times ``[B]`` at the quantiles ``uniform`` ``[B]``, in [0, 1)."""

    def check(self, prediction: Prediction) -> None:
        """Refuse a ``prediction`` that is not trained on what is drawn here.

        Raises:
            OptionError: it says what is drawn.
        """
        if prediction.trained_on != self.draws:
            raise OptionError(
                f"time distribution '{self.name}' draws {self.draws}, which prediction '{prediction.name}' "
                "is not trained on; use time 'auto' (--set training.time=auto)"
            )

    def draw(self, count: int, progress: float, generator: torch.Generator, device: torch.device) -> Tensor:
        """Draw the times of a step after the share ``progress``, in [0, 1), of all steps: ``count`` rows.

        Times ``[count]`` here; a prediction that is trained on something else reads the rows itself.
        """
        return self.at(torch.rand(count, generator=generator, device=device))


@TimeDistribution.register("uniform")
class UniformTimes(TimeDistribution):
    """The uniform distribution of timesteps (Lipman et al. 2023, eq. 9)."""

    def at(self, uniform: Tensor) -> Tensor:
        return uniform


@TimeDistribution.register("logit-normal")
class LogitNormalTimes(TimeDistribution):
    """t = 1 / (1 + exp(−z)), z ~ N(mean, deviation²): more of the middle (Esser et al. 2024, section 3.1).

    Args:
        mean: of z; above 0 favours times near the data.
        deviation: of z, its standard deviation.
    """

    def __init__(self, mean: float = 0.0, deviation: float = 1.0) -> None:
        check_numbers(
            "time distribution 'logit-normal'", mean=(mean, -100, 100), deviation=(deviation, 1e-3, 100)
        )
        self.mean, self.deviation = mean, deviation

    def at(self, uniform: Tensor) -> Tensor:
        return torch.sigmoid(self.mean + self.deviation * torch.special.ndtri(uniform))


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


class LossWeight(Registered, abc.ABC):
    """The base class of the weights of the squared errors, named by ``training.loss_weight``."""

    registry: ClassVar[Registry[Any]] = Registry("loss weight", "flowprior.loss_weights")

    @abc.abstractmethod
    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the weighted mean squared error of ``output`` ``[B, *event]``, a scalar.

        Args:
            output: the network's part of the velocity.
            target: what it is to be, ``[B, *event]``.
        """


@LossWeight.register("none")
class Unweighted(LossWeight):
    """The plain mean of the squared errors."""

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return flow_matching_loss(output, target)


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
