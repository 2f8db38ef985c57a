"""Peers in our training step: the same batches, times and weights as ours, labels beside their data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.optimize import linear_sum_assignment

from benchmarks.studies.peers import PEERS, PeerStream, seed_peer, solve, train_peer
from benchmarks.studies.settings import CONDOT, Setting
from flowprior import Flow
from flowprior.data import TensorData
from flowprior.training.batches import PairStream
from flowprior.training.components import resolve_components, resolve_config
from flowprior.training.randomness import Randomness

pytest.importorskip("torchcfm")
pytest.importorskip("flow_matching")

BUDGET: dict[str, Any] = {
    "model": "mlp:width=16",
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


def stream(points: TensorData, peer: str) -> PeerStream:
    given = {"data": points, "prior": "gaussian", "coupling": "condot", "path": "condot"}
    options = {key: value for key, value in BUDGET.items() if key != "model"}
    config = resolve_config(None, options, **given, model="mlp:width=16")
    parts = resolve_components(config, **given)
    parts.prior.fit(points.batches())
    return PeerStream(PEERS[peer](), parts, Randomness(0))


@pytest.mark.parametrize("peer", PEERS)
def test_labels_stay_with_their_data(points: TensorData, peer: str) -> None:
    """On the straight path x_t + (1 − t) u_t is the datum, and its first coordinate shows its label."""
    pairs = stream(points, peer)
    x_t, u_t, cond = pairs.batch(3)
    t = torch.rand(32, generator=pairs.randomness.generator("time", 3))
    x1 = x_t + (1 - t)[:, None] * u_t
    assert cond is not None
    assert torch.equal((x1[:, 0] / 10).round().long(), cond)
    again = pairs.batch(3)
    assert all(torch.equal(a, b) for a, b in zip((x_t, u_t, cond), again, strict=True))  # type: ignore[arg-type]


@pytest.mark.parametrize("peer", ["torchcfm", "flow_matching"])
def test_independent_peers_see_our_batches(points: TensorData, peer: str) -> None:
    pairs = stream(points, peer)
    ours = PairStream(pairs.data, pairs.prior, pairs.coupling, 32, pairs.randomness)
    x0, x1, labels = ours.batch(2)
    t = torch.rand(32, generator=pairs.randomness.generator("time", 2))[:, None]
    x_t, u_t, cond = pairs.batch(2)
    torch.testing.assert_close(x_t, (1 - t) * x0 + t * x1)
    torch.testing.assert_close(u_t, x1 - x0)
    assert torch.equal(cond, labels)  # type: ignore[arg-type]


def test_optimal_transport_pairs_are_those_of_the_exact_plan(points: TensorData) -> None:
    """Drawn with replacement, so some of the batch is left out; those that are drawn are optimal."""
    pairs = stream(points, "torchcfm-ot")
    x0, x1, _ = PairStream(pairs.data, pairs.prior, pairs.coupling, 32, pairs.randomness).batch(0)
    rows, columns = linear_sum_assignment(torch.cdist(x0, x1).square().numpy())
    optimal = set(zip(rows.tolist(), columns.tolist(), strict=True))
    x_t, u_t, _ = pairs.batch(0)
    t = torch.rand(32, generator=pairs.randomness.generator("time", 0))[:, None]
    starts, ends = x_t - t * u_t, x_t + (1 - t) * u_t
    drawn = zip(
        torch.cdist(starts, x0).argmin(1).tolist(), torch.cdist(ends, x1).argmin(1).tolist(), strict=True
    )
    assert set(drawn) < optimal


@pytest.mark.parametrize("peer", ["torchcfm", "flow_matching"])
def test_the_same_pairs_train_the_same_network(points: TensorData, peer: str) -> None:
    ours = CONDOT.train(points, seed=1, **BUDGET)
    theirs = Setting(peer=peer).train(points, seed=1, **BUDGET)
    for a, b in zip(ours.model.parameters(), theirs.model.parameters(), strict=True):  # type: ignore[union-attr]
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_a_peers_run_resumes_and_loads(points: TensorData, tmp_path: Path) -> None:
    whole = train_peer(PEERS["torchcfm-ot"](), points, seed=0, out=tmp_path / "whole", **BUDGET)
    short = {**BUDGET, "steps": 4}
    train_peer(PEERS["torchcfm-ot"](), points, seed=0, out=tmp_path / "parts", **short)
    flow = train_peer(PEERS["torchcfm-ot"](), points, seed=0, out=tmp_path / "parts", **BUDGET)
    assert flow.metadata["step"] == 10
    loaded = Flow.load(tmp_path / "whole" / "flow")
    labels = torch.arange(9) % 3
    samples = [f.sample(labels, nfe=3, generator=torch.Generator().manual_seed(0)) for f in (whole, loaded)]
    assert torch.equal(*samples)


def test_their_solver_is_euler_with_exact_evaluations(points: TensorData) -> None:
    flow = CONDOT.train(points, seed=0, **BUDGET)
    labels = torch.arange(30) % 3
    x0 = flow.prior.sample(labels, generator=torch.Generator().manual_seed(0))
    for nfe in (1, 3, 15):
        with torch.no_grad():
            theirs = solve(flow, x0, labels, nfe)
        ours = flow.sample(labels, nfe=nfe, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-5)


def test_numpys_generator_follows_from_seed_and_step() -> None:
    import numpy as np

    seed_peer(0, 5)
    first = np.random.rand()  # noqa: NPY002
    seed_peer(0, 5)
    assert np.random.rand() == first  # noqa: NPY002
    seed_peer(0, 6)
    assert np.random.rand() != first  # noqa: NPY002
