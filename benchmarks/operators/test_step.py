"""Share of prior, coupling, path and loss in a training step of the compact U-Net on 128 pictures.

Three ways in turn: torch alone (``eager``, what one writes where that is a line or two), and flowprior's two.
"""

from __future__ import annotations

from functools import cache, lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.operators import peers
from benchmarks.operators.groups import FALLBACK, NATIVE, Group, own_way, rows_of, take_turns
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
    moments = []
    if prior_spec != "gaussian":  # a mixture of one component
        prior = fitted(prior_spec)
        parts = (prior.get_buffer("loc"), prior.get_buffer("var").sqrt())
        moments = [part[:, 0].view(-1, *x1.shape[1:]) for part in parts]

    def step() -> None:
        x0 = torch.randn_like(x1)
        if moments:
            mean, std = moments
            x0 = torch.addcmul(mean[cond], std[cond], x0)
        x_t, u_t = peers.eager_interpolate(x0, x1, torch.rand(BATCH)[:, None, None])
        v = x_t.detach().requires_grad_()
        (v - u_t).square().mean().backward()

    return step


def network_step() -> Call:
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


@cache
def network_seconds() -> float:
    """Median seconds of the network's step."""
    return take_turns({"network": network_step()}, ROUNDS)["network"]


@lru_cache(maxsize=1)
def around_the_network(prior: str, coupling: str) -> Group:
    number = batches(coupling)
    steps = "a step" if number == 1 else f"{number} steps"
    ours = partial(flowprior_steps, prior, coupling)
    makers = {NATIVE: ours, FALLBACK: ours}
    if (prior, coupling) in WRITTEN_OUT:
        makers["eager"] = partial(eager_step, prior)
    return Group(f"{steps} of {BATCH} pictures, {prior} + {coupling}", makers, batches=number)


def add_share(benchmark: Any, spec: tuple[str, str], way: str) -> None:
    """What each way takes of a step, on our own row."""
    if benchmark.enabled and way == own_way():
        network, milliseconds = network_seconds(), benchmark.extra_info["milliseconds"]
        share = {name: value / (value + network * 1e3) for name, value in milliseconds.items()}
        benchmark.extra_info.update(prior=spec[0], coupling=spec[1], share=share, network_seconds=network)


def test_network(benchmark):
    benchmark.group = f"a step of {BATCH} pictures, the network alone"
    benchmark.extra_info["way"] = "compact U-Net: forward, backward, AdamW"
    benchmark.pedantic(network_step(), rounds=ROUNDS, warmup_rounds=1)


test_step = rows_of(around_the_network, SPECS, then=add_share)
