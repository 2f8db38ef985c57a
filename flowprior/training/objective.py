"""The objective of training: the distribution of its timesteps, and the weights of its squared errors."""

from __future__ import annotations

import abc
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
