"""Share of prior, coupling, path and loss in a training step of the compact U-Net.

Three ways in turn: torch alone, flowprior's fallback, and its native operators.
"""

from __future__ import annotations

import statistics
from functools import lru_cache, partial
from time import perf_counter

import pytest

from benchmarks.operators.groups import FALLBACK, OURS, QUICK, Group, own_way, rows_of, time_row
from benchmarks.operators.training_steps import (
    BATCH,
    SPECS,
    batches,
    eager_step,
    flowprior_steps,
    network_step,
)

ROUNDS = 4
WRITTEN_OUT = SPECS[:2]  # priors that are a line or two of torch
NATIVE = OURS[0]


@pytest.fixture(scope="module")
def network_seconds() -> list[float]:
    """Seconds of the network's steps, measured where nothing has been yet."""
    return []


def measure_network(seconds: list[float]) -> float:
    """Median seconds; ``seconds`` keeps them."""
    if not seconds:
        step = network_step()
        for _ in range(ROUNDS + 1):
            start = perf_counter()
            step()
            seconds.append(perf_counter() - start)
        del seconds[0]
    return statistics.median(seconds)


@lru_cache(maxsize=1)
def around_the_network(prior: str, coupling: str) -> Group:
    number = batches(coupling)
    steps = "a step" if number == 1 else f"{number} steps"
    ours = partial(flowprior_steps, prior, coupling)
    makers = {NATIVE: ours, FALLBACK: ours}
    if (prior, coupling) in WRITTEN_OUT:
        makers["eager"] = partial(eager_step, prior)
    return Group(f"{steps} of {BATCH} pictures, {prior} + {coupling}", makers, batches=number)


def test_network(benchmark, network_seconds):
    benchmark.group = f"a step of {BATCH} pictures, the network alone"
    benchmark.extra_info["way"] = "compact U-Net: forward, backward, AdamW"
    benchmark.pedantic(network_step(), rounds=ROUNDS, warmup_rounds=1)
    if benchmark.enabled:
        network_seconds[:] = benchmark.stats.stats.data


@QUICK
@rows_of(WRITTEN_OUT, (*OURS, "eager"))
def test_step_of_a_plain_prior(benchmark, network_seconds, size, way):
    time_step(benchmark, network_seconds, size, way)


@QUICK
@rows_of(SPECS[len(WRITTEN_OUT) :], OURS)
def test_step(benchmark, network_seconds, size, way):
    time_step(benchmark, network_seconds, size, way)


def time_step(benchmark, network_seconds, spec, way):
    time_row(benchmark, around_the_network(*spec), way)
    if benchmark.enabled and way == own_way():
        network = measure_network(network_seconds)
        milliseconds = benchmark.extra_info["milliseconds"]
        benchmark.extra_info.update(
            prior=spec[0],
            coupling=spec[1],
            share={name: value / (value + network * 1e3) for name, value in milliseconds.items()},
            network_seconds=network,
        )
