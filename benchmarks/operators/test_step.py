"""Share of prior, coupling, path and loss in a training step of the compact U-Net.

Around the network, on batches of 128 pictures: source samples drawn and coupled, the path's point and
velocity, the loss and its gradient. Three ways in turn: torch alone (``eager``, what one writes without
flowprior where that is a line or two), flowprior's fallback, and its native operators.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import cache, lru_cache, partial
from time import perf_counter

import pytest
import torch
from torch import Tensor

from benchmarks.operators import peers
from benchmarks.operators.groups import FALLBACK, OURS, QUICK, Group, own_way, rows_of, time_row
from benchmarks.operators.peers import Call
from benchmarks.operators.problem import pictures
from flowprior import Coupling, Path, Prior
from flowprior.conditions import Condition
from flowprior.models import build_model
from flowprior.ops import flow_matching_loss

BATCH, FITTED = 128, 10_000
LOWRANK = "gmm:covariance=lowrank,rank=64,reg_covar=0.16"
SPECS = (("gaussian", "condot"), ("gmm", "condot"), (LOWRANK, "posterior"), (LOWRANK, "ot:ot_batch=1024"))
ROUNDS = 4
WRITTEN_OUT = SPECS[:2]  # priors that are a line or two of torch
NATIVE = OURS[0]


def data() -> tuple[Tensor, Tensor]:
    """The pictures that priors are fitted to, ``[10000, 1, 28, 28]``, and their labels."""
    return pictures().x[:FITTED].view(-1, 1, 28, 28), pictures().y[:FITTED]


@cache
def fitted(spec: str) -> Prior:
    """A prior fitted to the pictures."""
    return Prior.registry.resolve(spec).fit(data())


def batches(coupling_spec: str) -> int:
    """Training batches that one draw of the coupling makes."""
    return Coupling.registry.resolve(coupling_spec).draw_size(BATCH) // BATCH


def flowprior_steps(prior_spec: str, coupling_spec: str) -> Call:
    """As the training loop does it, for as many pairs as the coupling draws at once."""
    prior, path = fitted(prior_spec), Path.create("condot")
    coupling = Coupling.registry.resolve(coupling_spec)
    x1, cond = (rows[: BATCH * batches(coupling_spec)] for rows in data())

    def step() -> None:
        x0 = coupling.draw(prior, x1, cond)
        for start in range(0, len(x1), BATCH):
            rows = slice(start, start + BATCH)
            sample = path.interpolate(x0[rows], x1[rows], torch.rand(BATCH))
            v = sample.x_t.detach().requires_grad_()
            flow_matching_loss(v, sample.u_t).backward()

    return step


def eager_step(prior_spec: str) -> Call:
    """torch alone: randn, or mean and deviation of the class and randn; then the path and the loss."""
    x1, cond = (rows[:BATCH] for rows in data())
    moments = None if prior_spec == "gaussian" else _class_moments(fitted(prior_spec), x1)

    def step() -> None:
        x0 = torch.randn_like(x1)
        if moments is not None:
            mean, std = moments
            x0 = torch.addcmul(mean[cond], std[cond], x0)
        x_t, u_t = peers.eager_interpolate(x0, x1, torch.rand(BATCH)[:, None, None])
        v = x_t.detach().requires_grad_()
        (v - u_t).square().mean().backward()

    return step


def _class_moments(prior: Prior, x1: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation ``[C, *event]`` of a fitted mixture of one component."""
    mean, var = prior.get_buffer("loc")[:, 0], prior.get_buffer("var")[:, 0]
    return mean.view(-1, *x1.shape[1:]), var.sqrt().view(-1, *x1.shape[1:])


def network_step() -> Callable[[], None]:
    """Forward, backward and AdamW of the compact U-Net on 128 pictures, in float32."""
    model = build_model("unet", torch.Size([1, 28, 28]), Condition("labels", 10))
    model = model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    x, t, c = torch.randn(BATCH, 1, 28, 28), torch.rand(BATCH), torch.randint(10, (BATCH,))

    def step() -> None:
        loss = model(x, t, c).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


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
