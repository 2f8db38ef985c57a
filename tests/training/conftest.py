"""A small data set, a small network and short runs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowprior.data import TensorData
from flowprior.training import RunConfig, TrainingConfig
from flowprior.training.batches import PairStream
from flowprior.training.components import Components, resolve_components, resolve_config
from flowprior.training.state import TrainingState

SHORT: dict[str, Any] = {
    "steps": 12,
    "batch_size": 8,
    "warmup": 4,
    "log_every": 4,
    "sample_every": 0,
    "checkpoint_every": 0,
    "device": "cpu",
}


SAVED: dict[str, Any] = {
    "prior": "gaussian",
    "coupling": "condot",
    "model": "mlp:width=8,depth=1",
    "batch_size": 8,
    "steps": 4,
    "sample_nfe": 1,
    "checkpoint_every": 2,
    "device": "cpu",
}
"""A run of four steps with a checkpoint after every second one."""


class SmallNet(nn.Module):
    """v(x, t, cond) for points in the plane with three labels and a null label."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.label = nn.Embedding(4, 4)
        self.body = nn.Sequential(nn.Linear(7, 16), nn.SiLU(), nn.Dropout(dropout), nn.Linear(16, 2))

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        assert cond is not None
        return self.body(torch.cat([x, t[:, None], self.label(cond).to(x.dtype)], dim=1))


@pytest.fixture
def points() -> TensorData:
    """50 points in the plane around three class means; 50 is no multiple of the batch size."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(50) % 3
    means = torch.tensor([[0.0, 4.0], [3.0, -2.0], [-3.0, -2.0]])
    x = means[labels] + torch.randn(50, 2, generator=generator) * torch.tensor([1.0, 0.3])
    return TensorData(x, labels, name="points", classes=3)


def small_net(dropout: float = 0.0) -> SmallNet:
    """The same weights every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SmallNet(dropout)


def components(data: TensorData, model: nn.Module | str | None = None, **options: Any) -> Components:
    """Parts of a short run with a fitted Gaussian prior and the ``condot`` coupling."""
    parts: dict[str, Any] = {
        "data": data,
        "prior": "gaussian",
        "coupling": "condot",
        "path": "condot",
        "model": model or small_net(),
    }
    config = resolve_config(RunConfig(training=TrainingConfig(**SHORT)), options, **parts)
    built = resolve_components(config, **parts)
    built.prior.fit(data.batches())
    return built


def begun(parts: Components) -> tuple[TrainingState, PairStream]:
    """The state before the first step, and the pairs of the run."""
    state = TrainingState(parts)
    size = parts.config.training.batch_size
    pairs = PairStream(parts.data, parts.prior, parts.coupling, size, state.randomness, state.micro_batches)
    return state, pairs
