"""Baselines in our training step: the same batches, times and weights as ours, labels beside their data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from benchmarks.studies import peers
from benchmarks.studies.peers import BaselineStream
from flowprior import Flow, train
from flowprior.data import TensorData
from flowprior.training import TrainingConfig
from flowprior.training.batches import PairStream, Randomness
from flowprior.training.components import resolve_components
from flowprior.training.config import RunConfig
from flowprior.training.objective import TimeDistribution

pytest.importorskip("torchcfm")
pytest.importorskip("flow_matching")

BASELINES = ["torchcfm", "torchcfm_ot", "torchcfm_ot_within", "flow_matching"]
BUDGET: dict[str, Any] = {
    "steps": 10,
    "batch_size": 32,
    "warmup": 2,
    "sample_every": 0,
    "log_every": 5,
    "checkpoint_every": 4,
    "device": "cpu",
}


@pytest.fixture
def points() -> TensorData:
    """90 distinct points of three labels; the label can be read off the first coordinate."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(90) % 3
    x = torch.randn(90, 2, generator=generator) * 0.3
    x[:, 0] += 10.0 * labels
    return TensorData(x, labels, name="points", classes=3)


def config(seed: int = 0, **budget: Any) -> RunConfig:
    """What a study asks a trainer for."""
    training = TrainingConfig(**{**BUDGET, **budget}, seed=seed)
    return RunConfig(prior="gaussian", coupling="condot", model="mlp:width=16", training=training)


def stream(points: TensorData, name: str) -> BaselineStream:
    parts = resolve_components(config(prediction="velocity"), data=points)
    parts.prior.fit(points.batches())
    times = TimeDistribution.create("uniform")
    return BaselineStream(getattr(peers, f"{name}_targets")(), parts, Randomness(0), times)


@pytest.mark.parametrize("name", BASELINES)
def test_labels_stay_with_their_data(points: TensorData, name: str) -> None:
    """On the straight path x_t + (1 − t) u_t is the datum, and its first coordinate shows its label."""
    pairs = stream(points, name)
    x_t, u_t, cond = pairs.micro_batch(3)
    t = torch.rand(32, generator=pairs.randomness.generator("time", 3))
    x1 = x_t + (1 - t)[:, None] * u_t
    assert cond is not None
    assert torch.equal((x1[:, 0] / 10).round().long(), cond)
    again = pairs.micro_batch(3)
    assert all(torch.equal(a, b) for a, b in zip((x_t, u_t, cond), again, strict=True))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["torchcfm", "flow_matching"])
def test_independent_baselines_see_our_batches(points: TensorData, name: str) -> None:
    pairs = stream(points, name)
    x0, x1, labels = PairStream(pairs.data, pairs.prior, pairs.coupling, 32, pairs.randomness).micro_batch(2)
    t = torch.rand(32, generator=pairs.randomness.generator("time", 2))[:, None]
    x_t, u_t, cond = pairs.micro_batch(2)
    torch.testing.assert_close(x_t, (1 - t) * x0 + t * x1)
    torch.testing.assert_close(u_t, x1 - x0)
    assert torch.equal(cond, labels)  # type: ignore[arg-type]


def drawn_pairs(points: TensorData, name: str) -> tuple[set[tuple[int, int]], Tensor, Tensor, Tensor]:
    """Return the rows of x0 and x1 that a baseline joins in its first batch, and x0, x1 and the labels."""
    pairs = stream(points, name)
    x0, x1, labels = PairStream(pairs.data, pairs.prior, pairs.coupling, 32, pairs.randomness).micro_batch(0)
    x_t, u_t, _ = pairs.micro_batch(0)
    t = torch.rand(32, generator=pairs.randomness.generator("time", 0))[:, None]
    sources = torch.cdist((x_t - t * u_t).double(), x0.double())
    ends = torch.cdist((x_t + (1 - t) * u_t).double(), x1.double())
    assert max(float(found.amin(1).max()) for found in (sources, ends)) < 1e-4
    assert isinstance(labels, Tensor)
    return set(zip(sources.argmin(1).tolist(), ends.argmin(1).tolist(), strict=True)), x0, x1, labels


def optimal_pairs(x0: Tensor, x1: Tensor, rows: Tensor) -> set[tuple[int, int]]:
    """Return the optimal assignment of these rows."""
    sources, ends = linear_sum_assignment(torch.cdist(x0[rows], x1[rows]).square().numpy())
    return set(zip(rows[sources].tolist(), rows[ends].tolist(), strict=True))


def test_optimal_transport_pairs_are_those_of_the_exact_plan(points: TensorData) -> None:
    """Drawn with replacement, so some of the batch is left out; those that are drawn are optimal."""
    drawn, x0, x1, _ = drawn_pairs(points, "torchcfm_ot")
    assert drawn < optimal_pairs(x0, x1, torch.arange(32))


def test_within_labels_pairs_are_those_of_each_labels_exact_plan(points: TensorData) -> None:
    drawn, x0, x1, labels = drawn_pairs(points, "torchcfm_ot_within")
    optimal = [optimal_pairs(x0, x1, (labels == label).nonzero()[:, 0]) for label in range(3)]
    assert drawn < set().union(*optimal)
    assert all(drawn & own for own in optimal)
    assert not drawn <= optimal_pairs(x0, x1, torch.arange(32)), "the plan of the whole batch is another one"


@pytest.mark.parametrize("name", ["torchcfm", "flow_matching"])
def test_the_same_pairs_train_the_same_network(points: TensorData, name: str) -> None:
    theirs = getattr(peers, name)(config(1), points)
    ours = train(points, config=config(1, prediction="velocity"))
    for a, b in zip(ours.model.parameters(), theirs.model.parameters(), strict=True):  # type: ignore[union-attr]
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["torchcfm_ot", "torchcfm_ot_within"])
def test_the_run_of_a_baseline_resumes_and_loads(points: TensorData, name: str, tmp_path: Path) -> None:
    trainer = getattr(peers, name)
    whole = trainer(config(), points, tmp_path / "whole")
    trainer(config(steps=4), points, tmp_path / "parts")
    flow = trainer(config(), points, tmp_path / "parts")
    assert flow.metadata["step"] == 10
    loaded = Flow.load(tmp_path / "whole" / "flow")
    labels = torch.arange(9) % 3
    samples = [f.sample(labels, nfe=3, generator=torch.Generator().manual_seed(0)) for f in (whole, loaded)]
    assert torch.equal(*samples)
