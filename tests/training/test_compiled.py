"""One graph of the network: the same training, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowprior.data import TensorData
from flowprior.errors import OptionError
from flowprior.flow import Flow
from flowprior.training import state as module
from flowprior.training import train

from .conftest import SHORT, small_net

DESIGNS: dict[str, dict[str, Any]] = {
    "velocity": {"prior": "gaussian", "coupling": "condot"},
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
    plain, graph = (run_on(points, choice, **DESIGNS[design]) for choice in ("none", "model"))
    assert_same(plain, graph)


def test_a_run_may_go_on_with_another_choice(points: TensorData, tmp_path: Path) -> None:
    options: dict[str, Any] = {**DESIGNS["preconditioned"], "warmup": 1, "final_lr": 1.0}
    ends = []
    for first, second in (("none", "none"), ("model", "none")):
        run_on(points, first, tmp_path / first, steps=2, **options)
        ends.append(run_on(points, second, tmp_path / first, resume=True, steps=4, **options))
    assert_same(*ends)


class Peeking(nn.Module):
    """A network that looks at a value in the middle, as no graph can."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        y = self.layer(x)
        return y if float(y.sum().detach()) > 0 else 2 * y


def test_what_cannot_be_one_graph_is_refused_in_one_line(points: TensorData) -> None:
    with pytest.raises(OptionError, match=r"^training.compile=model: torch.compile cannot .*=none$") as info:
        run_on(points, "model", model=Peeking(), **DESIGNS["velocity"])
    assert "\n" not in str(info.value)


@pytest.mark.slow
def test_the_compiler_itself_keeps_the_training(points: TensorData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKEND", "inductor")
    plain, graph = (
        run_on(points, what, model=small_net(), **DESIGNS["residual"]) for what in ("none", "model")
    )
    assert_same(plain, graph, rtol=1e-4, atol=1e-5)
