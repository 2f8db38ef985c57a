"""Share of prior, coupling, path and loss in a training step of the compact U-Net (issue 2, item 5)."""

from __future__ import annotations

import time

import pytest
import torch

from flowprior import Coupling, Path, Prior
from flowprior.conditions import Condition
from flowprior.models import build_model
from flowprior.ops import flow_matching_loss

BATCH = 128
LOWRANK = "gmm:covariance=lowrank,rank=64,reg_covar=0.16"


def network_step():
    """Forward, backward and AdamW of issue 2's network; returns the median seconds of a step."""
    model = build_model("unet", torch.Size([1, 28, 28]), Condition("labels", 10))
    model = model.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    x, t, c = torch.randn(BATCH, 1, 28, 28), torch.rand(BATCH), torch.randint(10, (BATCH,))

    def step() -> float:
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16):
            v = model(x, t, c)
        optimiser.zero_grad()
        v.float().square().mean().backward()
        optimiser.step()
        return time.perf_counter() - start

    return sorted(step() for _ in range(9))[4]


@pytest.fixture(scope="module")
def network_seconds():
    torch.set_num_threads(2)
    return network_step()


@pytest.mark.parametrize(
    ("prior_spec", "coupling_spec"),
    [("gaussian", "condot"), ("gmm", "condot"), (LOWRANK, "posterior"), (LOWRANK, "ot:ot_batch=1024")],
)
def test_share_of_the_step(benchmark, fashion_mnist, network_seconds, prior_spec, coupling_spec):
    x, y, _, _ = fashion_mnist
    pictures = x.view(-1, 1, 28, 28)
    prior = Prior.registry.resolve(prior_spec).fit((pictures[:10_000], y[:10_000]))
    coupling, path = Coupling.registry.resolve(coupling_spec), Path.create("condot")
    size = coupling.draw_size(BATCH)
    x1, cond = pictures[:size], y[:size]

    def around_the_network() -> None:
        """Everything but the network for ``size`` pairs, the loss with its gradient."""
        x0 = coupling.draw(prior, x1, cond)
        for start in range(0, size, BATCH):
            rows = slice(start, start + BATCH)
            sample = path.interpolate(x0[rows], x1[rows], torch.rand(BATCH))
            v = sample.x_t.detach().requires_grad_()
            flow_matching_loss(v, sample.u_t).backward()

    benchmark(around_the_network)
    seconds = benchmark.stats.stats.median * BATCH / size
    benchmark.extra_info.update(share=seconds / (seconds + network_seconds), network_seconds=network_seconds)
