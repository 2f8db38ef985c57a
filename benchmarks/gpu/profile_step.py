"""A training step of each design under torch's profiler: what its parts take, and how long the GPU idles.

The step's time is taken without the profiler, which slows the host down; the kernels' times are its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.regions import REGIONS, regions_of
from benchmarks.gpu.settings import DESIGNS, Setting, setting_of
from benchmarks.gpu.shares import busy_time, device_times, host_times
from benchmarks.gpu.steps import Job, Values
from flowprior.training import RunConfig, TrainingConfig
from flowprior.training.components import resolve_components, resolve_config
from flowprior.training.from_parts import DeviceBatches, fit_prior, stream_of
from flowprior.training.loop import training_step
from flowprior.training.randomness import Randomness
from flowprior.training.state import TrainingState

TIMED = 5
"""So many times the profiled steps are timed without the profiler, and so many come before."""


def run(job: Job) -> Values:
    """Milliseconds of a step, of its parts on host and device, and the share of it in which the GPU idles."""
    setting = setting_of(job)
    values: Values = {**setting.about, "designs": {}}
    for name, design in DESIGNS.items():
        state, step = begun(setting, design, job.device)
        values["designs"][name] = profiled(state, step, setting.profiled)
        job.report(values)
    return values


def begun(
    setting: Setting, design: tuple[str, str], device: str
) -> tuple[TrainingState, Callable[[], object]]:
    """A run before its first step, its prior fitted, and the step that the training loop takes."""
    training = TrainingConfig(steps=10**6, batch_size=setting.batch_size, device=device)
    named = RunConfig(
        data=setting.data, prior=design[0], coupling=design[1], model=setting.model, training=training
    )
    parts = resolve_components(resolve_config(named, {}))
    state, randomness = TrainingState(parts), Randomness(0, parts.device)
    pairs = stream_of(parts, randomness, state.micro_batches)
    fit_prior(parts, randomness)
    parts.coupling.fit(parts.prior, DeviceBatches(parts), generator=randomness.generator("coupling fit"))
    return state, partial(training_step, state, pairs, randomness)


def profiled(state: TrainingState, step: Callable[[], object], count: int) -> Values:
    """Milliseconds a step: whole, and its parts; ``device``, ``busy`` and ``idle`` are None without a GPU."""
    cuda = state.parts.device.type == "cuda"
    _seconds(step, TIMED * count, cuda)
    whole = _seconds(step, TIMED * count, cuda) / (TIMED * count) * 1e3
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with regions_of(state), profile(activities=activities) as found:
        _seconds(step, count, cuda)
    events: Any = found.events()
    each = 1e-3 / count
    values: Values = {"milliseconds": whole, "host": _ordered(host_times(events), each)}
    if not cuda:
        return values | {"device": None, "busy": None, "idle": None}
    busy = busy_time(events) * each
    return values | {
        "device": _ordered(device_times(events), each),
        "busy": busy,
        "idle": max(0.0, 1 - busy / whole),
    }


def _seconds(step: Callable[[], object], count: int, cuda: bool) -> float:
    """Seconds of so many steps, to the end of what the device has to do for them."""
    start = time.perf_counter()
    for _ in range(count):
        step()
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _ordered(times: dict[str, float], factor: float) -> dict[str, float]:
    return {region: times[region] * factor for region in REGIONS if region in times}
