"""Samples that are kept are those that were judged."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from flowprior import evaluate
from flowprior.data import load_data
from flowprior.flow import Flow
from flowprior.storage.tensor_files import load_tensors
from flowprior.study.evaluating import Recorder, read_samples
from flowprior.training import train
from tests.study.conftest import LOWRANK

ASKED = {"nfe": (0, 1, 3), "samples": 60, "seed": 5}


@pytest.fixture(scope="module")
def flow() -> Flow:
    budget = {"steps": 5, "batch_size": 32, "device": "cpu"}
    return train("digits", prior=LOWRANK, coupling="ot", model="mlp:width=16", **budget)


@pytest.fixture(scope="module")
def recorded(flow: Flow, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("samples") / "samples.safetensors"
    recorder = Recorder(flow)
    evaluate(flow, "digits", reference=load_data("digits", "test"), generate=recorder, **ASKED)
    recorder.save_samples(path)
    return path


def test_a_recorder_gives_what_the_flow_generates(flow):
    cond = torch.arange(10)
    ours = Recorder(flow)(cond, nfe=2, generator=torch.Generator().manual_seed(1)).x
    theirs = flow.sample(cond, nfe=2, generator=torch.Generator().manual_seed(1))
    assert torch.equal(ours, theirs)


def test_the_file_holds_samples_and_conditions_of_every_call(flow, recorded):
    tensors, _ = load_tensors(recorded)
    assert len(tensors) == 6
    for nfe in (0, 3):
        x, cond = tensors[f"x/nfe={nfe}/guidance=1/seed=5"], tensors[f"cond/nfe={nfe}/guidance=1/seed=5"]
        assert (x.shape, cond.shape) == ((60, 1, 8, 8), (60,))
        again = flow.sample(cond, nfe=nfe, generator=torch.Generator().manual_seed(5), batch_size=500)
        assert torch.equal(x, again)


def test_what_was_asked_before_is_not_solved_again(flow, monkeypatch):
    recorder, cond, solve, calls = Recorder(flow), torch.arange(4), flow.solve, []

    def counting(*given, **options):
        calls.append(given)
        return solve(*given, **options)

    monkeypatch.setattr(flow, "solve", counting)
    for labels, nfe, seed in ((cond, 1, 2), (cond, 1, 2), (cond + 1, 1, 2), (cond, 2, 2), (cond, 1, 3)):
        recorder(labels, nfe=nfe, generator=torch.Generator().manual_seed(seed))
    assert len(calls) == 4


def test_equal_calls_are_told_apart(flow, tmp_path):
    recorder, cond = Recorder(flow), torch.arange(4)
    generator = torch.Generator().manual_seed(2)
    parts = [recorder(cond, nfe=1, generator=generator).x for _ in range(2)]
    assert not torch.equal(*parts)
    recorder.save_samples(tmp_path / "s.safetensors")
    tensors, spent = read_samples(tmp_path / "s.safetensors")
    assert list(spent.values()) == [1, 1]
    assert all(torch.equal(tensors[f"x/{name}"], part) for name, part in zip(spent, parts, strict=True))
