"""Processes that train together leave what one process leaves that takes all of their micro-batches."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flowprior import Flow
from flowprior.cli import main
from flowprior.cli.commands import process_rank
from flowprior.errors import OptionError
from flowprior.processes.group import Group, launched_group, process_count
from flowprior.storage.tensor_files import load_tensors
from flowprior.training import read_metrics
from flowprior.training.checkpoints import list_checkpoints
from tests.cli.conftest import call_app

OPTIONS = [
    *("--data", "digits", "--prior", "gmm:reg_covar=0.01", "--coupling", "ot", "--batch-size", "32"),
    *("--model", "mlp:width=16,depth=1", "--device", "cpu"),
]
SETTINGS = {
    "log_every": 1,
    "sample_every": 0,
    "condition_dropout": 0.2,
    "validation": 100,
    "checkpoint_every": 3,
}
OPTIONS += [word for key, value in SETTINGS.items() for word in ("--set", f"training.{key}={value}")]
# Without --multi_gpu accelerate starts one process where there is no GPU; its precision is not the run's.
LAUNCHERS = {
    "torchrun": "torch.distributed.run --standalone --nproc-per-node {}",
    "accelerate": "accelerate.commands.launch --multi_gpu --num_machines=1 --mixed_precision=bf16 "
    "--num_processes={}",
}
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(launcher: str, processes: int, *arguments: str) -> list[str]:
    own = LAUNCHERS[launcher].format(processes).split()
    return [sys.executable, "-m", *own, "-m", "flowprior", "train", *OPTIONS, *arguments]


def launch(launcher: str, processes: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command(launcher, processes, *arguments), capture_output=True, text=True, timeout=300, env=ENVIRONMENT
    )
    assert done.returncode == 0, done.stderr
    return done


def alone(out: Path, *arguments: str) -> Path:
    answer = call_app("train", *OPTIONS, "--out", str(out), *arguments)
    assert answer.code == 0, answer.err
    return out


def values(run: Path) -> list[dict[str, float]]:
    """What was logged on the way, but for what depends on the machine."""
    left_out = ("kind", "steps_per_second", "data_wait", "peak_memory")
    lines = [line for line in read_metrics(run / "metrics.jsonl") if line["kind"] != "start"]
    return [{name: value for name, value in line.items() if name not in left_out} for line in lines]


def largest_difference(first: Path, second: Path) -> float:
    """Of the tensors of two flows, those of the prior among them."""
    tensors = [load_tensors(next((run / "flow").glob("weights-*.safetensors")))[0] for run in (first, second)]
    assert tensors[0].keys() == tensors[1].keys()
    pairs = [(tensors[0][name].double(), tensors[1][name].double()) for name in tensors[0]]
    return max(float((mine - theirs).abs().max()) for mine, theirs in pairs if mine.numel())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "processes", "accumulate", "prior"),
    [
        ("torchrun", 2, 2, "gmm:reg_covar=0.01"),
        ("torchrun", 4, 1, "latent-gmm:rank=8"),
        ("accelerate", 2, 1, "gmm:reg_covar=0.01"),
    ],
)
def test_they_train_what_one_process_trains(
    launcher: str, processes: int, accumulate: int, prior: str, tmp_path: Path
) -> None:
    """Losses, norms, prior, weights and held-out losses; one process takes as many micro-batches a step."""
    shared = ["--steps", "6", "--prior", prior]
    ways = ["--set", f"training.accumulate={accumulate}", "--set", "training.prefetch=2"]
    done = launch(launcher, processes, *shared, "--out", str(tmp_path / "several"), *ways)
    one = alone(tmp_path / "one", *shared, "--set", f"training.accumulate={processes * accumulate}")
    for mine, theirs in zip(values(tmp_path / "several"), values(one), strict=True):
        assert mine == pytest.approx(theirs, rel=1e-6)
    assert largest_difference(tmp_path / "several", one) < 1e-6
    assert done.stdout.count("the flow is in") == 1
    assert done.stderr.count("the run is in") == 1
    info = json.loads((tmp_path / "several" / "info.json").read_text(encoding="utf-8"))
    assert (info["status"], info["step"], info["processes"]) == ("finished", 6, processes)


@pytest.mark.slow
def test_a_limit_of_time_stops_all_of_them_after_the_same_step(tmp_path: Path) -> None:
    run = tmp_path / "run"
    stopped = subprocess.run(
        command("torchrun", 2, "--steps", "6", "--out", str(run), "--max-minutes", "1e-9"),
        capture_output=True,
        text=True,
        timeout=300,
        env=ENVIRONMENT,
    )
    assert stopped.returncode != 0
    assert stopped.stderr.count("its limit of 1e-09 minutes after step 1 of 6") == 1
    assert [step for step, _ in list_checkpoints(run / "checkpoints")] == [1]
    launch("torchrun", 2, "--steps", "6", "--out", str(run), "--resume", "--max-minutes", "0")
    whole = alone(tmp_path / "whole", "--steps", "6", "--set", "training.accumulate=2")
    assert largest_difference(run, whole) < 1e-6


@pytest.mark.slow
def test_a_signal_to_the_launcher_saves(tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = command("torchrun", 2, "--steps", "100000", "--out", str(run))
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    try:
        deadline = time.monotonic() + 200
        while not read_metrics(run / "metrics.jsonl")[3:] and time.monotonic() < deadline:
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=100)
    finally:
        process.kill()
    info = json.loads((run / "info.json").read_text(encoding="utf-8"))
    assert info["status"] == "interrupted"
    assert list_checkpoints(run / "checkpoints")[-1][0] == info["step"]
    Flow.load(run / "checkpoints" / f"step-{info['step']:06d}")


def test_one_process_is_a_group_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("WORLD_SIZE", "RANK"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setitem(sys.modules, "accelerate", None)  # importing it would fail
    group = launched_group("cpu")
    assert type(group) is Group
    assert (group.rank, group.size, process_count(), process_rank()) == (0, 1, 1, 0)


def test_what_the_environment_says_is_checked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(OptionError, match="WORLD_SIZE='two' is no number of processes"):
        process_count()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(OptionError, match="device=cuda:0 is one device for several processes"):
        launched_group("cuda:0")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(OptionError, match=r"pip install accelerate"):
        launched_group("cpu")
    with pytest.raises(SystemExit) as stop:
        main(["train", "--data", "digits"])
    assert stop.value.code == 2
    assert "several processes need --out RUN" in capsys.readouterr().err
