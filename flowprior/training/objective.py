"""The objective of training: the distribution of its timesteps, and the weights of its squared errors."""

from __future__ import annotations

import abc
import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from flowprior.errors import OptionError
from flowprior.flow.predictions import SINGLE_TIMES, Prediction
from flowprior.registry import Registered, Registry
from flowprior.registry.options import check_numbers


class TimeDistribution(Registered, abc.ABC):
    """Base class of the distributions of t ∈ [0, 1]; named by ``training.time``."""

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


class LossWeight(Registered):
    """Base class of the weights of the loss, 1 for every error; named by ``training.loss_weight``."""

    registry: ClassVar[Registry[Any]] = Registry("loss weight", "flowprior.loss_weights")

    def weight(self, t: Tensor, scale: Tensor | None) -> Tensor | None:
        """Return weights that multiply the squared errors ``[B, *event]``; None for 1.

        Args:
            t: times ``[B]``.
            scale: c_out ``[B, *event]``, the standard deviation of what the network learns; None where the
                prediction has none.
        """
        return None

    def check(self, prediction: str) -> None:
        """Raise OptionError where a network of this ``prediction`` cannot be trained with these weights."""


class ErrorWeight(LossWeight, abc.ABC):
    """Base class of weights that follow the errors of each event."""

    @abc.abstractmethod
    def of_errors(self, errors: Tensor) -> Tensor:
        """Return weights ``[B]`` of events whose mean squared errors are ``errors`` ``[B]``, detached."""


@LossWeight.register("none")
class Unweighted(LossWeight):
    """The plain mean of the squared errors."""


@LossWeight.register("output-scale")
class OutputScaleWeight(LossWeight):
    """c_out^(−2 power), c_out the output scale of prediction ``preconditioned``.

    With power 1 the network's own output is regressed with equal weights everywhere (Karras et al. 2022,
    section 5); with power 0 the velocity is.

    Args:
        power: in [0, 1].
    """

    def __init__(self, power: float = 1.0) -> None:
        check_numbers("loss weight 'output-scale'", power=(power, 0, 1))
        self.power = power

    def weight(self, t: Tensor, scale: Tensor | None) -> Tensor | None:
        assert scale is not None
        return scale.detach().pow(-2 * self.power)

    def check(self, prediction: str) -> None:
        if prediction != "preconditioned":
            raise OptionError(
                f"loss weight 'output-scale' needs prediction 'preconditioned', which has an output scale, "
                f"got '{prediction}'; use loss_weight 'none'"
            )


@LossWeight.register("adaptive")
class AdaptiveWeight(ErrorWeight):
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

    def of_errors(self, errors: Tensor) -> Tensor:
        return (errors + self.floor).pow(-self.power)
