"""A compiled network: one graph, and the same training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from flowprior.data import TensorData
from flowprior.flow import Flow
from flowprior.training import state as module
from flowprior.training import train

from .conftest import SHORT, small_net

DESIGNS: dict[str, dict[str, Any]] = {
    "residual": {
        "prior": "latent-gmm:rank=1,components=2",
        "coupling": "posterior",
        "prediction": "residual",
    },
    "preconditioned": {
        "prior": "latent-gmm:rank=1,components=2",
        "coupling": "posterior",
        "model": "mlp",
        "accumulate": 2,
        "condition_dropout": 0.5,
        "prefetch": 2,
    },
    "epsilon": {"prior": "gaussian", "coupling": "condot", "path": "vp", "prediction": "epsilon"},
}


@pytest.fixture(autouse=True)
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs are made, differentiated and called as they are: what a compiler makes of them is torch's."""
    monkeypatch.setattr(module, "BACKEND", "aot_eager")
    torch._dynamo.reset()


def run_on(data: TensorData, what: str, out: Path | None = None, **options: Any) -> Flow:
    return train(data, out=out, compile=what, **{"model": "mlp:width=8,depth=1", **SHORT, **options})


def assert_same(one: Flow, other: Flow, rtol: float = 1e-6, atol: float = 1e-7) -> None:
    for name, value in one.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], value, rtol=rtol, atol=atol, msg=name)


@pytest.mark.parametrize(
    "design",
    ["residual", *(pytest.param(name, marks=pytest.mark.slow) for name in DESIGNS if name != "residual")],
)
def test_training_is_that_without_a_graph(points: TensorData, design: str) -> None:
    torch._dynamo.utils.counters.clear()
    plain, graph = (run_on(points, choice, **DESIGNS[design]) for choice in ("none", "model"))
    assert_same(plain, graph)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    assert not torch._dynamo.utils.counters["graph_break"]


def test_a_run_may_go_on_with_another_choice(points: TensorData, tmp_path: Path) -> None:
    options: dict[str, Any] = {**DESIGNS["preconditioned"], "warmup": 1, "final_lr": 1.0}
    ends = []
    for first, second in (("none", "none"), ("model", "none")):
        run_on(points, first, tmp_path / first, steps=2, **options)
        ends.append(run_on(points, second, tmp_path / first, resume=True, steps=4, **options))
    assert_same(*ends)


@pytest.mark.slow
def test_the_compiler_itself_keeps_the_training(points: TensorData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKEND", "inductor")
    plain, graph = (
        run_on(points, what, model=small_net(), **DESIGNS["residual"]) for what in ("none", "model")
    )
    assert_same(plain, graph, rtol=1e-4, atol=1e-5)
