"""Share of prior, coupling, path and loss in a training step of the compact U-Net (issue 3, item 5).

Three ways in one run: torch alone, flowprior's fallback, and its native operators.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks.step_share import BATCH, SPECS
from flowprior.conditions import Condition
from flowprior.models import build_model
from flowprior.ops.backend import native_devices

BACKENDS = {"fallback": "torch", "native": "native"}


def network_step() -> float:
    """Seconds of forward, backward and AdamW of issue 2's network in float32: the second best of four."""
    model = build_model("unet", torch.Size([1, 28, 28]), Condition("labels", 10))
    model = model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    x, t, c = torch.randn(BATCH, 1, 28, 28), torch.rand(BATCH), torch.randint(10, (BATCH,))

    def step() -> float:
        start = time.perf_counter()
        loss = model(x, t, c).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return time.perf_counter() - start

    return sorted(step() for _ in range(4))[1]


@pytest.fixture(scope="module")
def network_seconds():
    torch.set_num_threads(2)
    return network_step()


@pytest.fixture(scope="module")
def around_the_network(fashion_mnist):
    """Seconds of every case, for each backend: the least of two runs, so that no one's bad moment counts."""
    if "cpu" not in native_devices():
        pytest.skip("no native operators")
    runs = [{name: _in_a_process(choice) for name, choice in BACKENDS.items()} for _ in range(2)]
    return {
        name: [
            {way: min(case[way] for case in cases) for way in cases[0]} for cases in zip(*both, strict=True)
        ]
        for name, both in ((name, [run[name] for run in runs]) for name in BACKENDS)
    }


def _in_a_process(choice: str) -> list[dict[str, float]]:
    """Seconds of every case with the operators of ``choice``, which a process settles when it starts."""
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.step_share"],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "FLOWPRIOR_OPS": choice},
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(run.stdout)


@pytest.mark.parametrize("case", range(len(SPECS)), ids=["-".join(spec) for spec in SPECS])
def test_share_of_the_step(benchmark, around_the_network, network_seconds, case):
    prior, coupling = SPECS[case]
    seconds = {name: cases[case]["flowprior"] for name, cases in around_the_network.items()}
    if "eager" in around_the_network["native"][case]:
        seconds["eager"] = around_the_network["native"][case]["eager"]
    benchmark.extra_info.update(
        prior=prior,
        coupling=coupling,
        milliseconds={name: value * 1e3 for name, value in seconds.items()},
        share={name: value / (value + network_seconds) for name, value in seconds.items()},
        network_seconds=network_seconds,
    )
    benchmark.pedantic(lambda: None, rounds=1)
