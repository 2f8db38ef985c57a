"""A run folder: one writer, readers while it is written, leftovers, and files that are not what they were."""

from __future__ import annotations

import json
import random
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from flowprior.data import TensorData
from flowprior.errors import CheckpointError, FlowpriorError, OptionError
from flowprior.flow import Flow
from flowprior.flow.files import copy_flow
from flowprior.training import RunDirectory, read_metrics, train
from flowprior.training.callbacks import Monitor
from flowprior.training.checkpoints import list_checkpoints, read_checkpoint
from flowprior.training.run import new_run_folder
from flowprior.training.state import TrainingState
from tests.flow_folder import weights_of
from tests.training.test_kills import leftovers

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
    (run / "info.json").write_text(json.dumps({**info, "status": "running", "step": 0}))
    return run


def points_of_the_plane() -> TensorData:
    generator = torch.Generator().manual_seed(3)
    return TensorData(torch.randn(50, 2, generator=generator), torch.arange(50) % 3, name="points", classes=3)


def go_on(run: Path, **options: Any) -> Flow:
    return train(points_of_the_plane(), out=run, resume=True, **{**OPTIONS, **options})


def weights(run: Path) -> bytes:
    return weights_of(run / "flow").read_bytes()


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# -- one writer, many readers -------------------------------------------------------------------


def test_a_second_training_is_refused_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, seen = Monitor.log, []

    def log_and_try(monitor: Monitor, state: TrainingState, waited: float) -> None:
        log(monitor, state, waited)
        before = content(tmp_path)
        for resume in (True, False):
            with pytest.raises(OptionError, match=r"by another process|already holds a run"):
                train(points_of_the_plane(), out=tmp_path / "run", resume=resume, **OPTIONS)
        assert content(tmp_path) == before
        seen.append(state.step)

    monkeypatch.setattr(Monitor, "log", log_and_try)
    train(points_of_the_plane(), out=tmp_path / "run", **OPTIONS)
    assert seen


def test_a_run_can_be_read_while_it_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, read = Monitor.log, []

    def log_and_read(monitor: Monitor, state: TrainingState, waited: float) -> None:
        log(monitor, state, waited)
        if list_checkpoints(tmp_path / "run" / "checkpoints"):
            with pytest.warns(RuntimeWarning, match="still training, or was killed: its newest checkpoint"):
                read.append(Flow.load(tmp_path / "run").metadata["step"])

    monkeypatch.setattr(Monitor, "log", log_and_read)
    train(points_of_the_plane(), out=tmp_path / "run", **{**OPTIONS, "log_every": 1})
    assert read == [2, 2, 4, 4]


def test_a_file_system_without_locks_warns_once_and_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int, operation: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", fail)
    with pytest.warns(RuntimeWarning, match="cannot lock") as warned:
        train(points_of_the_plane(), out=tmp_path / "run", **OPTIONS)
    assert len(warned) == 1
    assert Flow.load(tmp_path / "run").metadata["step"] == 6


# -- which flow ---------------------------------------------------------------------------------


def test_a_run_is_loaded_like_a_saved_flow(run: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole, flow = Flow.load(run), Flow.load(run / "flow")
    assert whole.metadata == flow.metadata
    with pytest.raises(CheckpointError, match="neither a run nor a flow"):
        Flow.load(run / "samples" if (run / "samples").exists() else run.parent)


def test_an_unfinished_run_says_so(cut: Path) -> None:
    info = json.loads((cut / "info.json").read_text())
    (cut / "info.json").write_text(json.dumps({**info, "status": "interrupted", "step": 5}))
    expected = r"unfinished \(interrupted\): its newest checkpoint, of step 4, is used"
    with pytest.warns(RuntimeWarning, match=expected):
        Flow.load(cut)


# -- leftovers ----------------------------------------------------------------------------------


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
    assert sorted(path.name for path in (checkpoints / "step-000002").iterdir()) == ["notes.txt"]
    assert [step for step, _ in list_checkpoints(checkpoints)] == [6]
    assert weights(cut) == weights(finished)


# -- files that are not what they were ------------------------------------------------------------


@pytest.mark.parametrize("name", ["info.json", "metrics.jsonl"])
@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe\x00junk",
        b"[1, 2]",
        b'"text"\n',
        b"null\n5\n",
        b"[" * 100_000,
        b'{"step": "many", "kind": "train", "resumed": 3, "status": ["x"]}\n',
        b'{"step": 2, "kind": "train", "loss": "low", "resumed": {}, "status": {}}\n',
        b'{"step": 1e400, "kind": 7}\n{"kind": "train"}\n',
    ],
)
def test_notes_that_are_none_stop_nothing(name: str, text: bytes, cut: Path, finished: Path) -> None:
    (cut / name).write_bytes(text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Flow.load(cut)
    go_on(cut)
    assert weights(cut) == weights(finished)
    assert all(isinstance(line["step"], int) for line in read_metrics(cut / "metrics.jsonl"))
    assert json.loads((cut / "info.json").read_text())["status"] == "finished"


@pytest.mark.parametrize(
    "text", [b"\xff", b"a = " + b"[" * 100_000, b"a" * (2 << 20), b"x = 9" + b"9" * 9000]
)
def test_a_configuration_that_is_none_is_one_line(text: bytes, cut: Path) -> None:
    (cut / "config.toml").write_bytes(text)
    with pytest.raises(FlowpriorError) as caught:
        go_on(cut)
    assert "\n" not in str(caught.value)
    with pytest.raises(FlowpriorError):
        train(points_of_the_plane(), config=cut / "config.toml", steps=1)


def test_the_configuration_is_replaced_in_one_move(cut: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (cut / "config.toml").read_bytes()
    replace = Path.replace

    def fail(self: Path, target: Path) -> Path:
        if Path(target).name == "config.toml":
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(CheckpointError, match="No space left"):
        go_on(cut, log_every=1)
    assert (cut / "config.toml").read_bytes() == before
    assert leftovers(cut) == []


@pytest.mark.parametrize("file", ["weights", "model.safetensors", "training.pt", "flow.json"])
def test_flipped_bits_lead_to_the_checkpoint_before(file: str, cut: Path, finished: Path) -> None:
    folder = cut / "checkpoints" / "step-000004"
    path = weights_of(folder) if file == "weights" else folder / file
    whole, chance = path.read_bytes(), random.Random(file)
    for _ in range(25):
        data = bytearray(whole)
        for _ in range(chance.choice([1, 1, 8])):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        with pytest.raises(CheckpointError) as caught:
            read_checkpoint(folder)
        assert "\n" not in str(caught.value)
    with pytest.warns(RuntimeWarning, match="step-000004 is skipped"):
        go_on(cut)
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


def test_a_folder_with_files_of_a_runs_names_is_refused(tmp_path: Path) -> None:
    (tmp_path / "info.json").write_text("mine")
    with pytest.raises(OptionError, match=r"holds 'info\.json' but no run"):
        train(points_of_the_plane(), out=tmp_path, **OPTIONS)
    assert (tmp_path / "info.json").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["info.json"]


# -- names --------------------------------------------------------------------------------------


def test_every_run_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from flowprior.training import RunConfig

    config = RunConfig(data="arrays:path=/data/My Set.npz", prior="gmm:components=2", coupling="condot")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: new_run_folder(config, tmp_path / "runs"), range(16)))
    assert sorted(path.name for path in found) == sorted(f"arrays-gmm-condot-{n}" for n in range(1, 17))
    path = new_run_folder(RunConfig(data="../data/My Set.npz", prior="gmm", coupling="ot"), tmp_path)
    assert path == tmp_path / "My-Set-gmm-ot-1"
    assert RunDirectory(path).path.is_dir()


def test_the_flow_of_another_run_is_refused_until_the_run_writes_its_own_again(run: Path) -> None:
    assert isinstance(Flow.load(run), Flow)
    shutil.rmtree(run / "flow")
    copy_flow(run / "checkpoints" / "step-000002", run / "flow")
    with pytest.raises(CheckpointError, match=r"not the flow that the run .* trained") as caught:
        Flow.load(run)
    assert "\n" not in str(caught.value)
    assert isinstance(Flow.load(run / "flow"), Flow)
    go_on(run, steps=8)
    assert isinstance(Flow.load(run), Flow)


def test_a_run_of_an_older_version_names_no_flow_and_is_read_as_before(run: Path) -> None:
    info = json.loads((run / "info.json").read_text())
    del info["flow_digest"]
    (run / "info.json").write_text(json.dumps(info))
    shutil.rmtree(run / "flow")
    copy_flow(run / "checkpoints" / "step-000002", run / "flow")
    assert isinstance(Flow.load(run), Flow)
