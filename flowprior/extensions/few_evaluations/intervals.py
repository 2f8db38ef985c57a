"""Intervals of time: how a training draws them, a network is told them, and a sampler steps over them.

:mod:`flowprior.extensions.few_evaluations.average_velocity` says what is learned of them.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from flowprior.conditions import Conditions
from flowprior.couplings import Coupling
from flowprior.errors import OptionError
from flowprior.networks.embeddings import TimeConditionEmbedding, TimeEmbedding, zeroed
from flowprior.paths import Path
from flowprior.priors import Prior
from flowprior.registry.options import check_numbers
from flowprior.samplers import CountedVelocity, FixedStepSampler, Sampler
from flowprior.samplers.fixed import Last, Uniform
from flowprior.training import TimeDistribution

AVERAGES = "average-velocity"
"""The name of the prediction that is learned of intervals."""
INTERVALS = "intervals"
"""The name of what the timestep distribution draws here, in place of single times."""
SCALE = 20.0
"""The scale of times that a network is told, whose derivative in time is part of what it learns."""
NEAREST = 0.01
"""The least time from an interval's beginning to the last step; over less its derivative is noise."""


@TimeDistribution.register("interval")
class IntervalTimes(TimeDistribution):
    """Beginning, split and end ``[B, 3]`` of intervals, for prediction ``average-velocity``.

    Beginning and end are two times of a logit-normal distribution, in order, for a share of the rows; the
    others are intervals of length 0 (Geng et al. 2025, section 4.3). The split is where the derivative of the
    average velocity is taken to, as a finite difference: after a share of the interval that falls
    geometrically from 1, at which the network learns the velocity, to ``split`` (α-Flow, arXiv 2510.20771,
    section 3.3).

    Args:
        mean: of the logits; above 0 favours times near the data.
        deviation: of the logits.
        apart: share of rows whose intervals are longer than 0.
        split: last share of an interval that lies before its split; 0 takes the derivative itself.
        anneal: share of the training over which it falls; 0 for ``split`` from the first step on.
        last: time from which on one step of the velocity leads to the end, as on the grid ``last``; intervals
            that would end later end at 1. With 1 there is no such step.
    """

    draws: ClassVar[str] = INTERVALS

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


class IntervalEmbedding(nn.Module):
    """Sum of the embeddings of an interval's beginning, its length and the condition, ``[B, hidden]``.

    The length is embedded by what starts at zero.

    Args:
        embedding: of single times, whose parts it takes over.
    """

    def __init__(self, embedding: TimeConditionEmbedding) -> None:
        super().__init__()
        self.time = embedding.time
        self.time.scale = SCALE
        weight = self.time.second.weight
        self.length = TimeEmbedding(len(weight), self.time.features, SCALE).to(weight)
        zeroed(self.length.second)
        self.condition = embedding.condition

    def forward(self, t: Tensor, cond: Conditions | None) -> Tensor:
        """Embed intervals ``[B, 2]``, beginning and end; times ``[B]`` are intervals of length 0."""
        begin = t if t.dim() == 1 else t[:, 0]
        length = torch.zeros_like(t) if t.dim() == 1 else t[:, 1] - begin
        embedded, condition = self.time(begin) + self.length(length), self.condition(cond)
        return embedded if condition is None else embedded + condition


def tell_intervals(network: nn.Module) -> bool:
    """Let a network of the library be told intervals ``[B, 2]`` in place of times ``[B]``, in place.

    Returns:
        Whether it could be: whether it has a :class:`~flowprior.networks.embeddings.TimeConditionEmbedding`.
    """
    places = [
        (module, name, child)
        for module in network.modules()
        for name, child in module.named_children()
        if isinstance(child, TimeConditionEmbedding)
    ]
    for module, name, child in places:
        setattr(module, name, IntervalEmbedding(child))
    return bool(places)


@Sampler.register("flow-map", aliases=("meanflow",))
class FlowMap(FixedStepSampler):
    """x_s = x_t + (s − t) ū(x_t, t, s), one evaluation a step (MeanFlow, arXiv 2505.13447, eq. 12).

    For flows that predict the ``average-velocity``, over the times of a grid. An average has no error however
    long its step is: on the grid ``last`` all steps but the last one share the time up to ``at``, where a
    step of the velocity itself leads to the end.
    """

    stages: ClassVar[int] = 1

    def prepare(
        self,
        path: Path,
        prior: Prior | None = None,
        coupling: Coupling | None = None,
        prediction: str = "",
        *,
        generator: torch.Generator | None = None,
    ) -> Sampler:
        """Return itself; it needs a network that has learned averages."""
        if prediction not in ("", AVERAGES):
            raise OptionError(
                f"sampler '{self.name}' needs a flow of prediction '{AVERAGES}', got '{prediction}'; choose "
                f"another sampler (--sampler euler), or train with --set training.prediction={AVERAGES}"
            )
        return super().prepare(path, prior, coupling, prediction, generator=generator)

    def times(self, nfe: int | None) -> Tensor:
        steps = self.steps(nfe)
        if not isinstance(self._grid, Last) or steps == 1 or self.start >= self._grid.at:
            return self._grid.times_from(self.start, steps)
        before = self.start + (self._grid.at - self.start) * Uniform().times(steps - 1)
        return torch.cat([before, torch.ones(1, dtype=torch.float64)])

    def step(self, velocity: CountedVelocity, x: Tensor, t: float, h: float) -> Tensor:
        by_velocity = isinstance(self._grid, Last) and t >= self._grid.at
        return x + h * velocity.average(x, t, t if by_velocity else t + h)
