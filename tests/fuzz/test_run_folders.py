"""Damaged run folders, a small part of ``python -m tests.fuzz.run_folders``, and the harness itself."""

from __future__ import annotations

import pickle
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from flowprior import Flow, training
from flowprior.errors import CheckpointError
from tests.fuzz import run_folders, run_folders_cases, run_folders_zip
from tests.fuzz.run_folders import Fuzz, Judged, summarise
from tests.fuzz.run_folders_cases import Step, Verdict, canary_of, prepare, steps_of
from tests.fuzz.run_folders_commands import COMMANDS, command_of, is_choice
from tests.fuzz.run_folders_making import RunFile, role
from tests.fuzz.run_folders_mutators import MUTATORS, mutators_of
from tests.fuzz.run_folders_plan import Case, Catalogue
from tests.fuzz.run_folders_roads import Exit, Refused, check_exit, without_timings
from tests.fuzz.run_folders_worker import Here, Worker, WorkerDied

COUNT = 40
SECONDS = 20.0

# Results are compared bit by bit with those of a worker, which has one thread.
torch.set_num_threads(1)


@pytest.fixture(scope="module")
def fuzz(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzz]:
    worker = Worker()
    yield Fuzz(tmp_path_factory.mktemp("fuzz"), worker, SECONDS)
    worker.close()


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Fuzz:
    """Such runs, made and taken along the roads in this process, where parts of the package are replaced."""
    return Fuzz(tmp_path_factory.mktemp("here"), Here(), SECONDS)


def faults(judged: Judged) -> list[str]:
    return [f"{v.road}: {v.kind} {v.detail} {v.where}" for v in judged.verdicts if v.is_fault]


@pytest.mark.slow
@pytest.mark.parametrize("number", range(COUNT))
def test_a_damaged_file_gives_the_right_result_or_one_line(fuzz: Fuzz, number: int) -> None:
    case = fuzz.plan(0, COUNT)[number]
    judged = fuzz.judge(case)
    found = faults(judged)
    assert not found, f"{case.mutator} of {case.file.run}/{case.file.name} ({judged.done}): {found}"


@pytest.mark.slow
def test_a_damaged_file_as_a_process(fuzz: Fuzz) -> None:
    case = Case(0, 3, picture_of(fuzz), "removed")
    assert command_of(case.number) == "evaluate"
    assert fuzz.judge_process(case).kind == "same"


def test_the_small_plan_goes_round_everything(here: Fuzz) -> None:
    plan = here.plan(0, COUNT)
    assert {case.file.kind for case in plan} == {file.kind for file in here.catalogue.formats}
    assert len({case.mutator for case in plan}) == min(COUNT, len(MUTATORS))
    assert {case.mutator for case in here.plan(0, 400)} == set(MUTATORS)
    assert here.plan(0, 7) == plan[:7]
    assert here.plan(1, 7) != plan[:7]


def test_every_command_has_its_turn() -> None:
    assert {command_of(number) for number in range(0, 400, 20)} == set(COMMANDS)


def test_the_runs_hold_every_kind_of_file(here: Fuzz) -> None:
    formats = here.catalogue.formats
    assert set(formats.values()) >= {"json", "jsonl", "toml", "safetensors", "torch", "png"}
    for run in ("finished", "interrupted"):
        checkpoints = {
            Path(file.name).parts[1] for file in formats if file.name.startswith("checkpoints/step")
        }
        assert len(checkpoints) >= 3, run
    assert len({outcome.value for key, outcome in here.plain.items() if key[1] == "resume"}) == 1


def picture_of(fuzz: Fuzz) -> RunFile:
    """A file that no road reads."""
    return next(file for file, form in fuzz.catalogue.formats.items() if form == "png")


def garbage(load: Callable[..., Flow], path: Path) -> Flow:
    flow = load(path)
    with torch.no_grad():
        next(iter(flow.parameters())).view(-1)[0] += 1e-3
    return flow


def broken(load: Callable[..., Flow], path: Path) -> Flow:
    return {"model": load(path)}["no such key"]


def endless(load: Callable[..., Flow], path: Path) -> Flow:
    while True:
        time.sleep(0.01)


def greedy(load: Callable[..., Flow], path: Path) -> Flow:
    torch.ones(800 << 18)
    return load(path)


def wordy(load: Callable[..., Flow], path: Path) -> Flow:
    raise CheckpointError("two\nlines")


def trusting(load: Callable[..., Flow], path: Path) -> Flow:
    root = next(folder for folder in (path, *path.parents) if folder.name == "run")
    canary_of(root.parent).touch()
    return load(path)


def leaving(load: Callable[..., Flow], path: Path) -> Flow:
    sys.exit(3)


def sampled(catalogue: Catalogue, file: RunFile) -> list[Step]:
    """The first of the roads alone."""
    return steps_of(catalogue, file)[:1]


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        (garbage, "different"),
        (broken, "traceback"),
        (endless, "hang"),
        (greedy, "memory"),
        (wordy, "wording"),
        (trusting, "canary"),
        (leaving, "traceback"),
    ],
)
def test_a_wrong_loader_is_caught(
    here: Fuzz, monkeypatch: pytest.MonkeyPatch, wrong: Callable[..., Flow], fault: str
) -> None:
    load = Flow.load
    monkeypatch.setattr(run_folders, "steps_of", sampled)
    monkeypatch.setattr(run_folders_cases, "steps_of", sampled)
    monkeypatch.setattr(Flow, "load", lambda path, *_, **__: wrong(load, Path(path)))
    monkeypatch.setattr(here, "seconds", 1.0 if fault == "hang" else SECONDS)
    judged = here.judge(Case(0, 0, picture_of(here), "bit-flip"))
    assert judged.kind == "fault"
    assert {verdict.kind for verdict in judged.verdicts} == {fault}


def test_nothing_is_caught_where_nothing_is_wrong(here: Fuzz) -> None:
    judged = here.judge(Case(0, 0, picture_of(here), "bit-flip"))
    assert judged.kind == "same"
    assert [verdict.kind for verdict in judged.verdicts] == ["same"] * 3


def test_a_resume_that_goes_on_from_elsewhere_is_caught(here: Fuzz, monkeypatch: pytest.MonkeyPatch) -> None:
    train = training.train

    def train_otherwise(**options: Any) -> Flow:
        flow = train(**options)
        next(iter(flow.parameters())).data.view(-1)[0] += 1e-3
        return flow

    monkeypatch.setattr(training, "train", train_otherwise)
    judged = here.judge(Case(0, 0, picture_of(here), "bit-flip"))
    assert [(v.road, v.kind) for v in judged.verdicts if v.is_fault] == [("resume .", "different")]


def files_and_mutators(fuzz: Fuzz) -> Iterator[tuple[RunFile, str]]:
    """Each mutator once, with the first file that it applies to."""
    seen: set[str] = set()
    for file, form in fuzz.catalogue.formats.items():
        for name in mutators_of(form):
            if name not in seen:
                seen.add(name)
                yield file, name


def test_every_mutator_changes_its_file_and_always_alike(
    here: Fuzz, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_folders_zip, "BOMB", 1 << 20)
    done: dict[str, list[Any]] = {name: [] for name in MUTATORS}
    for turn in ("one", "two"):
        for file, name in files_and_mutators(here):
            scratch = tmp_path / turn / name
            scratch.mkdir(parents=True)
            case = Case(0, 1, file, name)
            prepare(here.runs, here.catalogue, case, scratch / "run", scratch)
            before, after = here.runs / file.run, scratch / "run"
            assert contents(after) != contents(before), name
            done[name].append([state for _, state in contents(after)])
    unlike = {name for name, (one, two) in done.items() if one != two}
    assert unlike <= {
        "pickle-in-its-place",
        "pickle-that-runs-code",
        "pickle-by-hand",
    }  # they hold the folder


def contents(folder: Path) -> list[tuple[str, Any]]:
    """What stands in a folder, without reading what never ends."""
    found: list[tuple[str, Any]] = []
    for path in sorted(folder.rglob("*")):
        regular = path.is_file() and not path.is_symlink() and path.stat().st_size < 1 << 24
        state = path.read_bytes() if regular else (path.is_symlink(), path.is_dir(), path.is_fifo())
        found.append((str(path.relative_to(folder)), state))
    return found


@pytest.mark.parametrize("number", range(6))
def test_the_pickles_do_run_code_where_they_are_trusted(here: Fuzz, tmp_path: Path, number: int) -> None:
    file = next(file for file, form in here.catalogue.formats.items() if form == "torch")
    name = ("pickle-that-runs-code", "pickle-in-its-place")[number % 2]
    prepare(here.runs, here.catalogue, Case(0, number, file, name), tmp_path / "run", tmp_path)
    path = tmp_path / "run" / file.name
    if name == "pickle-in-its-place":
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert canary_of(tmp_path).exists()


def test_a_worker_that_hangs_is_killed_and_replaced() -> None:
    worker = Worker()
    with pytest.raises(WorkerDied, match="no answer"):
        worker.call(time.sleep, 60, seconds=0.3)
    assert worker.call(len, "abc") == 3
    with pytest.raises(RuntimeError, match="MemoryError"):
        worker.call(bytearray, 1 << 45)
    worker.close()


@pytest.mark.parametrize(
    ("code", "said", "raised"),
    [
        (0, "flowprior: warning: x\n", None),
        (None, "", None),
        (2, "flowprior: error: x\n", Refused),
        (2, "flowprior: warning: y\nflowprior: error: x\n", Refused),
        (2, "flowprior: error: x\nand more\n", Exit),
        (2, "", Exit),
        (1, "flowprior: error: x\n", Exit),
        (1, "Traceback (most recent call last):\nKeyError: 1\n", Exit),
        (0, "Traceback (most recent call last):\nKeyError: 1\n", Exit),
        (-9, "", Exit),
    ],
)
def test_exit_codes(code: int | None, said: str, raised: type[Exception] | None) -> None:
    if raised is None:
        check_exit(code, said)
    else:
        with pytest.raises(raised):
            check_exit(code, said)


def test_what_is_not_compared_and_what_is() -> None:
    one = without_timings('{"rows": [{"w2": 1.0, "seconds": 3}], "x": {"prior_fit_seconds": 1}}')
    two = without_timings('{"rows": [{"w2": 1.0, "seconds": 4}], "x": {"prior_fit_seconds": 2}}')
    assert one == two != without_timings('{"rows": [{"w2": 1.5, "seconds": 3}], "x": {}}')


@pytest.mark.parametrize(
    ("text", "choice"),
    [("seed = 1\n[training]\nsteps = 9\n", True), ("seed = 2\n[training]\nsteps = 4\n", False), ("[", False)],
)
def test_only_what_a_resumed_run_may_change_is_a_choice(tmp_path: Path, text: str, choice: bool) -> None:
    (tmp_path / "old").write_text("seed = 1\n[training]\nsteps = 4\n")
    (tmp_path / "new").write_text(text)
    assert is_choice(tmp_path / "new", tmp_path / "old") is choice


def test_roles() -> None:
    assert role("checkpoints/step-000008/weights-0a1b2c3d4e5f.safetensors") == (
        "checkpoints/step-N/weights-H.safetensors"
    )
    assert role("metrics.jsonl") == "metrics.jsonl"


def test_the_summary_counts_and_tells_how_to_run_a_fault_again() -> None:
    file = RunFile("finished", "info.json")
    fault = Verdict("resume .", "traceback", "KeyError: 'step'", "flowprior/training/state.py:1 f")
    judged = [
        Judged(Case(5, 0, file, "removed"), "removed", [Verdict("resume .", "same", "")]),
        Judged(Case(5, 7, file, "crlf"), "CRLF", [Verdict("sample flow", "refused", "x"), fault]),
        Judged(Case(5, 9, file, "crlf"), "CRLF", [Verdict("process sample", "exit", "code 1")]),
    ]
    summary = summarise(judged, 10, 5)
    assert summary["refusals"] == {"sample finished/info.json": 1}
    assert summary["classes"] == {"same": 1, "fault": 2}
    assert summary["by_mutator"] == {"crlf": {"fault": 2}, "removed": {"same": 1}}
    assert summary["causes"] == {
        "process sample exit finished/info.json": [9],
        "resume traceback KeyError flowprior/training/state.py:1 f": [7],
    }
    assert summary["faults"][0]["again"].endswith("--seed 5 --only 7")
    assert summary["faults"][1]["again"].endswith("--seed 5 --only 9 --processes 1")
