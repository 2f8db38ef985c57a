"""``train`` from end to end: resume, refusals, what it leaves."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from flowprior.couplings import Coupling
from flowprior.data import TensorData
from flowprior.errors import (
    CheckpointError,
    TrainingDiverged,
    TrainingInterrupted,
)
from flowprior.flow import Flow
from flowprior.priors import Prior
from flowprior.storage.tensor_files import load_tensors, parse_state
from flowprior.training import read_metrics, train
from flowprior.training.checkpoints import list_checkpoints
from tests.flow_folder import weights_of

from .conftest import SHORT, SmallNet, small_net

OF_THE_MACHINE = ("steps_per_second", "data_wait", "peak_memory", "prior_fit_seconds")


class StopsAt(SmallNet):
    """Sends a signal to its own process, or gives NaN, in one forward pass of its training."""

    def __init__(self, call: int, number: signal.Signals | None = None, dropout: float = 0.0) -> None:
        super().__init__(dropout)
        self.load_state_dict(small_net(dropout).state_dict())
        self.call, self.number, self.calls = call, number, 0

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        self.calls += self.training
        v = super().forward(x, t, cond)
        if self.training and self.calls == self.call:
            if self.number is None:
                return v * float("nan")
            os.kill(os.getpid(), self.number)
        return v


def run_on(data: Any, out: Path | None = None, **options: Any) -> Flow:
    """A short run on ``data``; options win over the short defaults."""
    parts: dict[str, Any] = {"prior": "gaussian", "coupling": "condot", "model": small_net()}
    return train(data, out=out, **{**parts, **SHORT, **options})


def metrics(out: Path) -> list[dict[str, Any]]:
    lines = read_metrics(out / "metrics.jsonl")
    return [{key: value for key, value in line.items() if key not in OF_THE_MACHINE} for line in lines]


def equal(mine: Any, theirs: Any) -> bool:
    if isinstance(mine, Tensor):
        return torch.equal(mine, theirs)
    if isinstance(mine, dict):
        return mine.keys() == theirs.keys() and all(equal(mine[key], theirs[key]) for key in mine)
    if isinstance(mine, list | tuple):
        return len(mine) == len(theirs) and all(map(equal, mine, theirs))
    return bool(mine == theirs)


@pytest.mark.parametrize(
    "parts",
    [
        {"coupling": "ot:ot_batch=32", "prior": "gmm:components=2"},
        {"coupling": "condot", "precision": "bfloat16"},
    ],
    ids=["ot", "bfloat16"],
)
def test_resuming_is_bit_for_bit(points: TensorData, tmp_path: Path, parts: dict[str, Any]) -> None:
    # Step 6 lies between two log lines, in an epoch, and in the middle of ot's superbatch of four batches.
    options = {**parts, "condition_dropout": 0.3, "sample_every": 5}
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    run_on(points, whole, model=StopsAt(0, dropout=0.4), **options)
    with pytest.raises(TrainingInterrupted, match="after step 6 of 12"):
        run_on(points, halves, model=StopsAt(6, signal.SIGTERM, 0.4), **options)
    torch.manual_seed(99)
    run_on(points, halves, resume=True, model=StopsAt(0, dropout=0.4), **options)

    last = [out / "checkpoints" / "step-000012" for out in (whole, halves)]
    for files in ([weights_of(folder) for folder in last], [folder / "model.safetensors" for folder in last]):
        mine, theirs = (load_tensors(file)[0] for file in files)
        assert equal(mine, theirs), files
    mine, theirs = (parse_state(path.read_bytes(), path) for path in (out / "training.pt" for out in last))
    assert equal(mine, theirs)
    assert metrics(whole) == metrics(halves)
    assert [line["step"] for line in metrics(whole)] == [0, 4, 8, 12]


def test_a_bad_loss_stops_and_keeps_the_last_good_checkpoint(points: TensorData, tmp_path: Path) -> None:
    with pytest.raises(
        TrainingDiverged, match=r"step 8: loss nan.*last good checkpoint is .*step-000006"
    ) as caught:
        run_on(points, tmp_path / "run", model=StopsAt(8), checkpoint_every=3)
    assert "\n" not in str(caught.value)
    assert [step for step, _ in list_checkpoints(tmp_path / "run" / "checkpoints")] == [3, 6]
    weights, _ = load_tensors(tmp_path / "run" / "checkpoints" / "step-000006" / "model.safetensors")
    assert all(torch.isfinite(value).all() for value in weights.values())
    assert json.loads((tmp_path / "run" / "info.json").read_text())["status"] == "diverged"


def test_ctrl_c_without_a_directory_is_an_ordinary_ctrl_c(points: TensorData) -> None:
    # A shell starts background jobs with SIGINT ignored, and Python then leaves it so.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_on(points, model=StopsAt(3, signal.SIGINT))
    finally:
        signal.signal(signal.SIGINT, before)


def test_without_a_directory_nothing_is_written(
    points: TensorData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flow = run_on(points, sample_every=4, checkpoint_every=4)
    assert list(tmp_path.iterdir()) == []
    assert not flow.model.training
    assert flow.sample(torch.tensor([0, 1, 2]), nfe=2).shape == (3, 2)


def test_transport_cost_and_gap_are_logged(points: TensorData, tmp_path: Path) -> None:
    run_on(points, tmp_path / "run", coupling="ot", prior="gmm")
    (line,) = [line for line in metrics(tmp_path / "run") if line["kind"] == "start"]
    info = json.loads((tmp_path / "run" / "info.json").read_text())
    assert line["transport_cost"] < line["transport_cost_unpaired"]
    for key in ("starts_gap", "transport_cost", "transport_cost_unpaired"):
        assert info[key] == line[key]
    assert info["prior_fit_seconds"] > 0
    assert line["starts_gap"]


def test_a_fitted_prior_and_the_callers_random_state_are_left_alone(points: TensorData) -> None:
    prior = Prior.create("gaussian", moments="scalar").fit((points.x + 100, points.cond))
    before = {key: value.clone() for key, value in prior.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    flow = run_on(points, prior=prior, model=small_net(0.5))
    assert torch.equal(torch.rand(3), expected)
    assert flow.prior is prior
    assert equal(before, dict(prior.state_dict()))


def test_a_part_that_could_not_be_rebuilt_is_refused_before_the_first_step(
    points: TensorData, tmp_path: Path
) -> None:
    class Unregistered(type(Coupling.create("condot"))):
        pass

    with pytest.raises(CheckpointError, match="Unregistered is not registered"):
        run_on(points, tmp_path / "run", coupling=Unregistered())
    assert not (tmp_path / "run").exists()
    assert run_on(points, coupling=Unregistered(), steps=1)
