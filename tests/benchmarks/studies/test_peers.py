"""Peers in our training step: the same batches, times and weights as ours, labels beside their data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.optimize import linear_sum_assignment

from benchmarks.studies import peers
from benchmarks.studies.peers import PeerStream
from flowprior import Flow, train
from flowprior.data import TensorData
from flowprior.training import TrainingConfig
from flowprior.training.batches import PairStream, Randomness
from flowprior.training.components import resolve_components
from flowprior.training.config import RunConfig
from flowprior.training.objective import TimeDistribution

pytest.importorskip("torchcfm")
pytest.importorskip("flow_matching")

PEERS = ["torchcfm", "torchcfm_ot", "flow_matching"]
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


def stream(points: TensorData, peer: str) -> PeerStream:
    parts = resolve_components(config(prediction="velocity"), data=points)
    parts.prior.fit(points.batches())
    times = TimeDistribution.create("uniform")
    return PeerStream(getattr(peers, f"{peer}_targets")(), parts, Randomness(0), times)


@pytest.mark.parametrize("peer", PEERS)
def test_labels_stay_with_their_data(points: TensorData, peer: str) -> None:
    """On the straight path x_t + (1 − t) u_t is the datum, and its first coordinate shows its label."""
    pairs = stream(points, peer)
    x_t, u_t, cond = pairs.micro_batch(3)
    t = torch.rand(32, generator=pairs.randomness.generator("time", 3))
    x1 = x_t + (1 - t)[:, None] * u_t
    assert cond is not None
    assert torch.equal((x1[:, 0] / 10).round().long(), cond)
    again = pairs.micro_batch(3)
    assert all(torch.equal(a, b) for a, b in zip((x_t, u_t, cond), again, strict=True))  # type: ignore[arg-type]


@pytest.mark.parametrize("peer", ["torchcfm", "flow_matching"])
def test_independent_peers_see_our_batches(points: TensorData, peer: str) -> None:
    pairs = stream(points, peer)
    x0, x1, labels = PairStream(pairs.data, pairs.prior, pairs.coupling, 32, pairs.randomness).micro_batch(2)
    t = torch.rand(32, generator=pairs.randomness.generator("time", 2))[:, None]
    x_t, u_t, cond = pairs.micro_batch(2)
    torch.testing.assert_close(x_t, (1 - t) * x0 + t * x1)
    torch.testing.assert_close(u_t, x1 - x0)
    assert torch.equal(cond, labels)  # type: ignore[arg-type]


def test_optimal_transport_pairs_are_those_of_the_exact_plan(points: TensorData) -> None:
    """Drawn with replacement, so some of the batch is left out; those that are drawn are optimal."""
    pairs = stream(points, "torchcfm_ot")
    x0, x1, _ = PairStream(pairs.data, pairs.prior, pairs.coupling, 32, pairs.randomness).micro_batch(0)
    rows, columns = linear_sum_assignment(torch.cdist(x0, x1).square().numpy())
    optimal = set(zip(rows.tolist(), columns.tolist(), strict=True))
    x_t, u_t, _ = pairs.micro_batch(0)
    t = torch.rand(32, generator=pairs.randomness.generator("time", 0))[:, None]
    starts, ends = x_t - t * u_t, x_t + (1 - t) * u_t
    drawn = zip(
        torch.cdist(starts, x0).argmin(1).tolist(), torch.cdist(ends, x1).argmin(1).tolist(), strict=True
    )
    assert set(drawn) < optimal


@pytest.mark.parametrize("peer", ["torchcfm", "flow_matching"])
def test_the_same_pairs_train_the_same_network(points: TensorData, peer: str) -> None:
    theirs = getattr(peers, peer)(config(1), points)
    ours = train(points, config=config(1, prediction="velocity"))
    for a, b in zip(ours.model.parameters(), theirs.model.parameters(), strict=True):  # type: ignore[union-attr]
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_a_peers_run_resumes_and_loads(points: TensorData, tmp_path: Path) -> None:
    whole = peers.torchcfm_ot(config(), points, tmp_path / "whole")
    peers.torchcfm_ot(config(steps=4), points, tmp_path / "parts")
    flow = peers.torchcfm_ot(config(), points, tmp_path / "parts")
    assert flow.metadata["step"] == 10
    loaded = Flow.load(tmp_path / "whole" / "flow")
    labels = torch.arange(9) % 3
    samples = [f.sample(labels, nfe=3, generator=torch.Generator().manual_seed(0)) for f in (whole, loaded)]
    assert torch.equal(*samples)
