"""A cell of an evaluation: one way of generating samples, and the samples that it gives."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor

from flowprior.errors import CheckpointError, OptionError
from flowprior.evaluation.batch_size import halving
from flowprior.flow.showing import check_samples
from flowprior.metrics.base import Metric, SampleMetric, StepMetric
from flowprior.metrics.setup import Setup
from flowprior.metrics.trajectories import step_times
from flowprior.registry import spec_of
from flowprior.samplers import FixedStepSampler, Sampler, Solution, TimeGrid


@dataclass(frozen=True)
class Cell:
    """One way of generating samples.

    Attributes:
        name: of the sampler, as it was asked for.
        sampler: an instance.
        nfe: evaluations to spend; None for a sampler that chooses them, 0 for the prior alone.
        guidance: strength of classifier-free guidance.
    """

    name: str
    sampler: Sampler
    nfe: int | None
    guidance: float

    def __str__(self) -> str:
        count = "" if self.nfe is None else f", nfe {self.nfe}"
        return f"{self.name}{count}, guidance {self.guidance:g}"

    @property
    def grid(self) -> str | None:
        """Name of the grid of times that the sampler steps along; None where it has none."""
        grid = getattr(self.sampler, "grid", None)
        return grid.name if isinstance(grid, TimeGrid) else grid

    @property
    def kinds(self) -> tuple[type[Metric], ...]:
        """The kinds of metrics that apply: the prior alone takes no steps."""
        return (SampleMetric,) if self.nfe == 0 else (SampleMetric, StepMetric)

    @property
    def file_name(self) -> str:
        """What the names of its files begin with."""
        if self.nfe == 0:
            return "prior"
        count = "" if self.nfe is None else f"-nfe{self.nfe}"
        return f"{self.sampler.name}{count}-g{self.guidance:g}"

    @property
    def terms(self) -> dict[str, Any] | None:
        """What decides its samples besides flow, data and seed; None where the sampler has no name."""
        try:
            spec = spec_of(Sampler.registry, self.sampler)
        except CheckpointError:
            return None
        return {"sampler": spec, "nfe": self.nfe, "guidance": self.guidance}


def generate(cell: Cell, setup: Setup) -> tuple[Solution, float]:
    """The solution and the seconds it took; ``setup.batch_size`` is halved where memory runs out.

    Raises:
        OptionError: evaluations that the sampler cannot spend.
    """
    solve = setup.generate or setup.solve or setup.flow.solve
    terms = {"nfe": cell.nfe, "sampler": cell.sampler, "guidance": cell.guidance}

    def timed(size: int) -> tuple[Solution, float]:
        start = time.perf_counter()
        generator = setup.generator()
        solution = solve(setup.cond, setup.samples, generator=generator, batch_size=size, **terms)
        if solution.x.is_cuda:
            torch.cuda.synchronize(solution.x.device)
        return solution, time.perf_counter() - start

    found, setup.batch_size = halving(timed, setup.batch_size)
    return found


def as_compared(x: Tensor, setup: Setup) -> Tensor:
    """Samples as metrics see them: pictures clamped to [-1, 1], the range of the data.

    Raises:
        InputError: samples that are not finite.
    """
    check_samples(x, "evaluate")
    return x.clamp(-1, 1) if setup.data.is_image else x


def sampler_times(samplers: Iterable[Sampler], nfe: Iterable[int]) -> set[float]:
    """The times between which fixed-step samplers step at any of ``nfe`` that they can spend."""
    times: set[float] = set()
    for sampler, count in product(samplers, nfe):
        if isinstance(sampler, FixedStepSampler):
            with suppress(OptionError):
                times.update(step_times(sampler, count))
    return times
