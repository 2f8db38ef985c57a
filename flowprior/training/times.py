"""TimeDistribution: the law that the times of a training step are drawn from."""

from __future__ import annotations

import abc
import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from flowprior.errors import OptionError
from flowprior.flow.predictions import SINGLE_TIMES, Prediction
from flowprior.registry import Registered, Registry, check_numbers


class TimeDistribution(Registered, abc.ABC):
    """Base class of the laws of t ∈ [0, 1]; named by ``training.time``."""

    registry: ClassVar[Registry[Any]] = Registry("time distribution", "flowprior.times")

    draws: ClassVar[str] = SINGLE_TIMES
    """The name of what it draws, which a prediction has to be trained on."""

    @abc.abstractmethod
    def at(self, uniform: Tensor) -> Tensor:
        """Times ``[B]`` at the quantiles ``uniform`` ``[B]``, in [0, 1)."""

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
    """All times alike (Lipman et al. 2023, eq. 9)."""

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
