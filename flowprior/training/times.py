"""TimeDistribution: the law that the times of a training step are drawn from."""

from __future__ import annotations

import abc
import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from flowprior.errors import OptionError
from flowprior.registry import Registered, Registry, check_numbers


class TimeDistribution(Registered, abc.ABC):
    """Base class of the laws of t ∈ [0, 1]; named by ``training.time``."""

    registry: ClassVar[Registry[Any]] = Registry("time distribution", "flowprior.times")

    of_intervals: ClassVar[bool] = False
    """Whether it draws intervals, ``[B, 3]``, in place of times ``[B]``."""

    @abc.abstractmethod
    def at(self, uniform: Tensor) -> Tensor:
        """Times ``[B]`` at the quantiles ``uniform`` ``[B]``, in [0, 1)."""

    def check(self, prediction: str, intervals: bool) -> None:
        """Refuse a ``prediction`` that is not trained on what is drawn here.

        Args:
            prediction: its name.
            intervals: whether it is of intervals.

        Raises:
            OptionError: it needs intervals and these are times, or the other way round.
        """
        if intervals != self.of_intervals:
            drawn = "intervals" if self.of_intervals else "single times"
            raise OptionError(
                f"time distribution '{self.name}' draws {drawn}, which prediction '{prediction}' is not "
                "trained on; use time 'auto' (--set training.time=auto)"
            )

    def draw(self, count: int, progress: float, generator: torch.Generator, device: torch.device) -> Tensor:
        """Times ``[count]`` for a step after the share ``progress``, in [0, 1), of all steps."""
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
        owner = "time distribution 'logit-normal'"
        check_numbers(owner, mean=(mean, -100, 100), deviation=(deviation, 1e-3, 100))
        self.mean, self.deviation = mean, deviation

    def at(self, uniform: Tensor) -> Tensor:
        return torch.sigmoid(self.mean + self.deviation * torch.special.ndtri(uniform))


NEAREST = 0.01
"""How near to the last step an interval may begin of which a derivative is taken; over less it is noise."""


@TimeDistribution.register("interval")
class IntervalTimes(TimeDistribution):
    """Beginning, split and end ``[B, 3]`` of intervals, for prediction ``average-velocity``.

    Beginning and end are two times of a logit-normal law, in order, for a share of the rows; the others are
    intervals of length 0 (Geng et al. 2025, section 4.3). The split is where the derivative of the average
    velocity is taken to, as a finite difference: after a share of the interval that falls geometrically from
    1, at which the network learns the velocity, to ``split`` (α-Flow, arXiv 2510.20771, section 3.3).

    Args:
        mean: of the logits; above 0 favours times near the data.
        deviation: of the logits.
        apart: share of rows whose intervals are longer than 0.
        split: last share of an interval that lies before its split; 0 takes the derivative itself.
        anneal: share of the training over which it falls; 0 for ``split`` from the first step on.
        last: time from which on one step of the velocity leads to the end, as on the grid ``last``; intervals
            that would end later end at 1. With 1 there is no such step.
    """

    of_intervals: ClassVar[bool] = True

    def __init__(
        self,
        mean: float = 0.0,
        deviation: float = 1.4,
        apart: float = 0.5,
        split: float = 0.02,
        anneal: float = 0.5,
        last: float = 1.0,
    ) -> None:
        owner = "time distribution 'interval'"
        check_numbers(owner, mean=(mean, -100, 100), deviation=(deviation, 1e-3, 100))
        check_numbers(owner, apart=(apart, 0, 1), split=(split, 0, 1), anneal=(anneal, 0, 1))
        check_numbers(owner, last=(last, 1e-3, 1))
        self.mean, self.deviation, self.apart = mean, deviation, apart
        self.split, self.anneal, self.last = split, anneal, last

    def at(self, uniform: Tensor) -> Tensor:
        return torch.sigmoid(self.mean + self.deviation * torch.special.ndtri(uniform))

    def draw(self, count: int, progress: float, generator: torch.Generator, device: torch.device) -> Tensor:
        """Beginning, split and end ``[count, 3]``; rows of length 0 are spread evenly over the batch."""
        times = self.at(torch.rand(2, count, generator=generator, device=device))
        begin, end = times.sort(0).values
        end = torch.where(end > self.last, torch.ones_like(end), end)
        split = begin + self._share(progress) * (end - begin)
        split = torch.where(begin < self.last - NEAREST, split.clamp_max(self.last), end)
        apart = (torch.arange(count + 1, device=device) * self.apart).floor().diff() > 0
        split = end if self._share(progress) == 1 else split
        found = torch.stack([begin, split, end], 1)
        return torch.where(apart[:, None], found, times[0][:, None])

    def _share(self, progress: float) -> float:
        """Share of an interval that lies before its split."""
        if self.split == 0 or progress >= self.anneal:
            return self.split
        return self.split ** (progress / self.anneal)


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
        half = self.steepness / 2
        return 0.5 + torch.asinh((2 * uniform - 1) * math.sinh(half)) / self.steepness
