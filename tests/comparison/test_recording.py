"""Samples that are kept are those that were judged, and they can be judged again without the network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from flowprior import evaluate
from flowprior.comparison import RecordingFlow, ReplayedFlow
from flowprior.data import load_data
from flowprior.errors import CheckpointError
from flowprior.flow import Flow
from flowprior.storage import load_tensors
from flowprior.training import train
from tests.comparison.conftest import LOWRANK

ASKED = {"nfe": (1, 3), "samples": 60, "seed": 5}


@pytest.fixture(scope="module")
def flow() -> Flow:
    budget = {"steps": 5, "batch_size": 32, "device": "cpu"}
    return train("digits", prior=LOWRANK, coupling="ot", model="mlp:width=16", **budget)


@pytest.fixture(scope="module")
def recorded(flow: Flow, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("samples") / "samples.safetensors"
    recording = RecordingFlow(flow)
    evaluate(recording, "digits", reference=load_data("digits", "test"), **ASKED)
    recording.save_samples(path)
    return path


def without_seconds(found: object) -> list[dict[str, float]]:
    rows = found.rows  # type: ignore[attr-defined]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def test_a_recording_flow_generates_what_the_flow_does(flow):
    cond = torch.arange(10)
    ours = RecordingFlow(flow).sample(cond, nfe=2, generator=torch.Generator().manual_seed(1))
    theirs = flow.sample(cond, nfe=2, generator=torch.Generator().manual_seed(1))
    assert torch.equal(ours, theirs)


def test_the_file_holds_samples_and_conditions_of_every_call(flow, recorded):
    tensors, _ = load_tensors(recorded)
    assert len(tensors) == 4
    x, cond = tensors["x/nfe=3/guidance=1/seed=5"], tensors["cond/nfe=3/guidance=1/seed=5"]
    assert (x.shape, cond.shape) == ((60, 1, 8, 8), (60,))
    again = flow.sample(cond, nfe=3, generator=torch.Generator().manual_seed(5), batch_size=500)
    assert torch.equal(x, again)


def test_figures_come_back_from_the_file_without_sampling(flow, recorded, monkeypatch):
    reference = load_data("digits", "test")
    expected = evaluate(flow, "digits", reference=reference, **ASKED)
    monkeypatch.setattr(Flow, "solve", lambda *_, **__: pytest.fail("samples were generated"))
    found = evaluate(ReplayedFlow(flow, recorded), "digits", reference=reference, **ASKED)
    assert without_seconds(found) == without_seconds(expected)


def test_samples_of_another_call_are_refused(flow, recorded):
    replayed = ReplayedFlow(flow, recorded)
    generator = torch.Generator().manual_seed(5)
    with pytest.raises(CheckpointError, match="no samples 'nfe=2"):
        replayed.solve(torch.arange(10), nfe=2, generator=generator)
    with pytest.raises(CheckpointError, match="of these conditions"):
        replayed.solve(torch.arange(10), nfe=3, generator=generator)


def test_equal_calls_are_told_apart(flow, tmp_path):
    recording, cond = RecordingFlow(flow), torch.arange(4)
    generator = torch.Generator().manual_seed(2)
    parts = [recording.sample(cond, nfe=1, generator=generator) for _ in range(2)]
    assert not torch.equal(*parts)
    recording.save_samples(tmp_path / "s.safetensors")
    replayed = ReplayedFlow(flow, tmp_path / "s.safetensors")
    for part in parts:
        assert torch.equal(replayed.sample(cond, nfe=1, generator=torch.Generator().manual_seed(2)), part)


def test_trajectories_are_solved_and_not_kept(flow, recorded, tmp_path):
    cond = torch.arange(4)
    recording = RecordingFlow(flow)
    solution = recording.solve(cond, nfe=2, generator=torch.Generator().manual_seed(0), trajectory=True)
    recording.save_samples(tmp_path / "s.safetensors")
    assert load_tensors(tmp_path / "s.safetensors")[0] == {}
    again = ReplayedFlow(flow, recorded).solve(
        cond, nfe=2, generator=torch.Generator().manual_seed(0), trajectory=True
    )
    assert solution.trajectory is not None
    assert again.trajectory is not None
    assert torch.equal(solution.trajectory, again.trajectory)
