"""A run folder: one writer, readers while it is written, leftovers, damaged files, and info.json."""

from __future__ import annotations

import json
import shutil
import subprocess
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from flowprior import train
from flowprior.data import TensorData
from flowprior.errors import CheckpointError, OptionError
from flowprior.flow import Flow
from flowprior.training import Callback, RunConfig, RunDirectory, TrainingConfig
from flowprior.training import run as run_module
from flowprior.training.checkpoints import list_checkpoints
from flowprior.training.config import MAY_CHANGE
from flowprior.training.run import RunInfo, git_commit, new_run_folder, package_commit
from tests.flow_folder import weights_of
from tests.training.test_interrupt import leftovers

from .conftest import SHORT

OPTIONS: dict[str, Any] = {
    "prior": "gaussian",
    "coupling": "condot",
    "model": "mlp:width=8,depth=1",
    **SHORT,
    "steps": 6,
    "checkpoint_every": 2,
    "keep_checkpoints": 3,
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with checkpoints of steps 2, 4 and 6."""
    out = tmp_path_factory.mktemp("runs") / "run"
    train(points_of_the_plane(), out=out, **OPTIONS)
    return out


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of it that may be damaged."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def cut(run: Path) -> Path:
    """A run that was killed after its second checkpoint."""
    shutil.rmtree(run / "flow")
    shutil.rmtree(run / "checkpoints" / "step-000006")
    info = json.loads((run / "info.json").read_text())
    (run / "info.json").write_text(json.dumps({**info, "status": "interrupted", "step": 5}))
    return run


def points_of_the_plane() -> TensorData:
    generator = torch.Generator().manual_seed(3)
    return TensorData(torch.randn(50, 2, generator=generator), torch.arange(50) % 3, name="points", classes=3)


def go_on(run: Path, **options: Any) -> Flow:
    return train(points_of_the_plane(), out=run, resume=True, **{**OPTIONS, **options})


def weights(run: Path) -> bytes:
    return weights_of(run / "flow").read_bytes()


# -- who may write, and what may change ------------------------------------------------------------


def test_an_existing_run_needs_resume_and_a_check_writes_nothing(run: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"already holds a run; pass resume=True \(--resume\)"):
        RunDirectory(run).check(resume=False)
    RunDirectory(run).check(resume=True)
    (run / "config.toml").unlink()
    with pytest.raises(OptionError, match="already holds a run"):
        RunDirectory(run).check(resume=False)
    with pytest.raises(OptionError, match="is a file; choose a directory"):
        RunDirectory(run / "info.json").check(resume=False)
    RunDirectory(tmp_path / "new").check(resume=False)
    assert not (tmp_path / "new").exists()


def test_a_folder_with_files_of_a_runs_names_is_refused(tmp_path: Path) -> None:
    (tmp_path / "info.json").write_text("mine")
    with pytest.raises(OptionError, match=r"holds 'info\.json' but no run"):
        train(points_of_the_plane(), out=tmp_path, **OPTIONS)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("info.json", "mine")]


@pytest.mark.parametrize("changes", [{"lr": 0.5}, {"seed": 3}, {"steps": 1}, {"latent": "vae"}])
def test_what_would_train_something_else_is_refused(run: Path, changes: dict[str, Any]) -> None:
    ((key, value),) = changes.items()
    config = RunDirectory(run).read_config()
    tree = {**config.as_dict(), **changes} if key == "latent" else config.as_dict()
    training = TrainingConfig(**{**tree.pop("training"), **({} if key == "latent" else changes)})
    with pytest.raises(OptionError, match=rf"{key} \S+ -> '?{value}") as caught:
        RunDirectory(run).check_unchanged(RunConfig(**tree, training=training))
    assert "\n" not in str(caught.value)


def test_what_only_changes_what_is_seen_is_allowed(run: Path, finished: Path) -> None:
    go_on(run, log_every=1, checkpoint_every=7, keep_checkpoints=9, prefetch=1)
    assert weights(run) == weights(finished)
    assert {f"training.{name}" for name in vars(TrainingConfig())} > MAY_CHANGE


def test_a_second_training_is_refused_and_writes_nothing(tmp_path: Path) -> None:
    class Tries(Callback):
        def on_log(self, step: int, values: Any) -> None:
            before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
            for resume in (True, False):
                with pytest.raises(OptionError, match=r"by another process|already holds a run"):
                    train(points_of_the_plane(), out=tmp_path / "run", resume=resume, **OPTIONS)
            assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before

    train(points_of_the_plane(), out=tmp_path / "run", callbacks=[Tries()], **OPTIONS)


def test_every_run_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    config = RunConfig(data="arrays:path=/data/My Set.npz", prior="gmm:components=2", coupling="condot")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: new_run_folder(config, tmp_path / "runs"), range(16)))
    assert sorted(path.name for path in found) == sorted(f"arrays-gmm-condot-{n}" for n in range(1, 17))
    path = new_run_folder(RunConfig(data="../data/My Set.npz", prior="gmm", coupling="ot"), tmp_path)
    assert path == tmp_path / "My-Set-gmm-ot-1"
    assert path.is_dir()


def test_a_directory_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot write "):
        RunDirectory(tmp_path / "file" / "run").create(RunConfig())


# -- which flow ---------------------------------------------------------------------------------


def test_a_run_can_be_read_while_it_trains_and_says_when_it_is_unfinished(tmp_path: Path) -> None:
    read = []

    class Reads(Callback):
        def on_step(self, step: int) -> None:
            if list_checkpoints(tmp_path / "run" / "checkpoints"):
                with pytest.warns(RuntimeWarning, match="still training, or was killed: its newest"):
                    read.append(Flow.load(tmp_path / "run").metadata["step"])

    train(points_of_the_plane(), out=tmp_path / "run", callbacks=[Reads()], **OPTIONS)
    assert read == [2, 2, 4, 4]


def test_a_run_is_loaded_like_a_saved_flow(run: Path, cut: Path, finished: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole, flow = Flow.load(finished), Flow.load(finished / "flow")
    assert whole.metadata == flow.metadata
    with pytest.raises(CheckpointError, match="neither a run nor a flow"):
        Flow.load(finished.parent)
    expected = r"unfinished \(interrupted\): its newest checkpoint, of step 4, is used"
    with pytest.warns(RuntimeWarning, match=expected):
        Flow.load(cut)


def test_the_flow_of_another_run_is_refused_until_the_run_writes_its_own_again(run: Path) -> None:
    other = Flow.load(run / "checkpoints" / "step-000002")
    shutil.rmtree(run / "flow")
    other.save(run / "flow")
    with pytest.raises(CheckpointError, match=r"not the flow that the run .* trained") as caught:
        Flow.load(run)
    assert "\n" not in str(caught.value)
    assert isinstance(Flow.load(run / "flow"), Flow)
    go_on(run, steps=8)
    assert isinstance(Flow.load(run), Flow)


# -- leftovers, and files that are not what they were -----------------------------------------------


def test_leftovers_are_removed_and_files_of_others_stay(cut: Path, finished: Path) -> None:
    checkpoints, samples = cut / "checkpoints", cut / "samples"
    samples.mkdir(exist_ok=True)
    (checkpoints / ".step-000006.1a2b3c4d.tmp").mkdir()
    (checkpoints / ".step-000006.1a2b3c4d.tmp" / "training.pt").write_bytes(b"half")
    for name in (".config.toml.1a2b3c4d.tmp", ".info.json.1a2b3c4d.tmp", ".metrics.jsonl.1a2b3c4d.tmp"):
        (cut / name).write_text("half")
    (samples / ".step-000006.png.1a2b3c4d.tmp.png").write_text("half")
    (cut / "flow").mkdir()
    (cut / "flow" / "weights-0123456789abcdef.safetensors").write_text("half")
    (cut / ".lock").write_text("")
    theirs = [cut / ".notes.1a2b3c4d.tmp", checkpoints / "step-000002" / "notes.txt", cut / "thesis.tex"]
    for path in theirs:
        path.write_text("three years of work")
    go_on(cut, keep_checkpoints=1)
    assert leftovers(cut) == [".notes.1a2b3c4d.tmp"]
    assert all(path.read_text() == "three years of work" for path in theirs)
    assert [step for step, _ in list_checkpoints(checkpoints)] == [6]
    assert weights(cut) == weights(finished)


def test_a_checkpoint_under_another_name_or_of_another_run_is_refused(cut: Path, tmp_path: Path) -> None:
    folder = cut / "checkpoints" / "step-000004"
    shutil.copytree(folder, folder.with_name("step-000005"))
    with pytest.warns(RuntimeWarning, match="was saved at step 4"):
        go_on(cut)
    other = tmp_path / "other"
    train(points_of_the_plane(), out=other, **{**OPTIONS, "seed": 5})
    shutil.rmtree(other / "checkpoints" / "step-000006")
    shutil.copytree(cut / "checkpoints" / "step-000006", other / "checkpoints" / "step-000006")
    with pytest.warns(RuntimeWarning, match=r"another configuration \(training\.seed 0 -> 5\)"):
        go_on(other, seed=5)


# -- info.json ------------------------------------------------------------------------------------


def committed(folder: Path) -> str:
    """Make a repository with one file, and return its commit."""

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(folder), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    (folder / "benchmarks" / "results").mkdir(parents=True)
    for place in ("a", "benchmarks/results/a.csv"):
        (folder / place).write_text("1")
    git("add", ".")
    git("commit", "-q", "-m", "one")
    return git("rev-parse", "HEAD")


def test_a_commit_and_its_changes(tmp_path: Path) -> None:
    assert git_commit(tmp_path) is None
    commit = committed(tmp_path)
    assert git_commit(tmp_path) == commit
    (tmp_path / "benchmarks" / "results" / "a.csv").write_text("2")  # which a study writes between its runs
    assert git_commit(tmp_path / "benchmarks") == commit
    (tmp_path / "a").write_text("2")
    assert git_commit(tmp_path) == f"{commit}-dirty"


def test_a_package_inside_somebody_elses_checkout_has_no_commit(tmp_path: Path, monkeypatch) -> None:
    committed(tmp_path)
    site = tmp_path / "venv" / "run.py"
    site.parent.mkdir()
    site.write_text("")
    monkeypatch.setattr(run_module, "__file__", str(site))
    assert package_commit.__wrapped__() is None


def test_start_resume_and_end(tmp_path: Path) -> None:
    path = tmp_path / "info.json"
    path.write_text('{"status": "run')  # a torn file does not stop a run
    info = RunInfo(path)
    info.start(torch.device("cpu"), 0, prior_fit_seconds=1.5)
    first = info.read()
    assert (first["status"], first["prior_fit_seconds"], first["resumed"]) == ("running", 1.5, [])
    assert (first["torch"], first["threads"]) == (torch.__version__, torch.get_num_threads())
    assert first["device_name"]
    info.end(6, "interrupted")
    info.start(torch.device("cpu"), 6)
    info.end(12, "finished")
    last = json.loads(path.read_text())
    assert (last["started"], last["prior_fit_seconds"]) == (first["started"], 1.5)
    assert [record["step"] for record in last["resumed"]] == [6]
    assert (last["status"], last["step"]) == ("finished", 12)
    assert last["ended"] >= last["started"]
