"""The settings of an evaluation: ways of generating samples, the samples that they give, how many at once."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from flowprior.conditions import Conditions, moved, repeated, rows
from flowprior.errors import CheckpointError, OptionError
from flowprior.flow import Flow
from flowprior.flow.sampling import check_samples, evaluating
from flowprior.metrics.base import Metric, SampleMetric, StepMetric
from flowprior.metrics.setup import Setup
from flowprior.metrics.trajectories import step_times
from flowprior.registry import spec_of
from flowprior.samplers import FixedStepSampler, Sampler, Solution, TimeGrid

LARGEST_BATCH = 500
MEMORY_SHARE = 0.25
"""Of the free memory that activations may take; the rest is for samples, features and other programs."""
PROBE_BATCH = 2
R = TypeVar("R")


@dataclass(frozen=True)
class Setting:
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


def generate(setting: Setting, setup: Setup) -> tuple[Solution, float]:
    """The solution and the seconds it took; ``setup.batch_size`` is halved where memory runs out.

    Raises:
        OptionError: evaluations that the sampler cannot spend.
    """
    solve = setup.generate or setup.solve or setup.flow.solve
    terms = {"nfe": setting.nfe, "sampler": setting.sampler, "guidance": setting.guidance}

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


def step_times_of(settings: Iterable[Setting]) -> set[float]:
    """Return the times between which the fixed-step samplers of the settings step, where they can."""
    times: set[float] = set()
    for setting in settings:
        if isinstance(setting.sampler, FixedStepSampler) and setting.nfe is not None:
            with suppress(OptionError):
                times.update(step_times(setting.sampler, setting.nfe))
    return times


def fitting_batch_size(flow: Flow, cond: Conditions | None = None, guidance: float = 1.0) -> int:
    """Samples at once that fit into a quarter of the free memory, at most 500.

    One evaluation of two samples is watched: what its layers put out, all together, is an upper bound of what
    is alive at any time. A plain function is not watched, and gets 500.

    Args:
        flow: on the device that it will run on.
        cond: conditions to take two of; None for a flow without.
        guidance: other than 1 doubles the batch inside.
    """
    if not isinstance(flow.model, nn.Module):
        return LARGEST_BATCH
    device = flow.prior.event_dims.device
    x = torch.zeros(PROBE_BATCH, *flow.state_shape, dtype=flow.dtype or torch.float32, device=device)
    few = moved(repeated(rows(cond, slice(1)), PROBE_BATCH), device)
    times = torch.full((PROBE_BATCH,), 0.5, dtype=x.dtype, device=device)
    count = 0

    def add(module: nn.Module, inputs: object, output: object) -> None:
        nonlocal count
        count += output.numel() * output.element_size() if isinstance(output, Tensor) else 0

    layers = [module for module in flow.model.modules() if not list(module.children())]
    hooks = [module.register_forward_hook(add) for module in layers]
    try:
        with torch.no_grad(), evaluating(flow.model):
            flow.velocity(x, times, few, guidance)
    finally:
        for hook in hooks:
            hook.remove()
    each = max(count // PROBE_BATCH, x[0].numel() * x.element_size(), 1)
    return int(max(1, min(LARGEST_BATCH, MEMORY_SHARE * free_memory(device) // each)))


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):  # not every system says
        return 2 * 1024**3


def halving(run: Callable[[int], R], size: int) -> tuple[R, int]:
    """``run(size)``, with half the size again while the device is out of memory; and the size that did."""
    while True:
        try:
            return run(size), size
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            torch.cuda.empty_cache()
            size //= 2
