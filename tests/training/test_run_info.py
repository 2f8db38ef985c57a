"""info.json: what ran where."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import torch

from flowprior.training import run
from flowprior.training.run import RunInfo, describe_machine, git_commit, package_commit


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_a_commit_and_its_changes(tmp_path: Path) -> None:
    assert git_commit(tmp_path) is None
    git(tmp_path, "init", "-q")
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-q", "-m", "one")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert git_commit(tmp_path) == commit
    (tmp_path / "a").write_text("2")
    assert git_commit(tmp_path) == f"{commit}-dirty"


def test_a_package_inside_somebody_elses_checkout_has_no_commit(tmp_path: Path, monkeypatch) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-q", "-m", "one")
    site = tmp_path / "venv" / "run.py"
    site.parent.mkdir()
    site.write_text("")
    monkeypatch.setattr(run, "__file__", str(site))
    assert package_commit.__wrapped__() is None


def test_the_machine() -> None:
    machine = describe_machine(torch.device("cpu"))
    assert machine["torch"] == torch.__version__
    assert machine["threads"] == torch.get_num_threads()
    assert machine["device"] == "cpu"
    assert machine["device_name"]


def test_start_resume_and_end(tmp_path: Path) -> None:
    path = tmp_path / "info.json"
    info = RunInfo(path)
    info.start(torch.device("cpu"), 0, 1.5)
    first = info.read()
    assert (first["status"], first["prior_fit_seconds"], first["resumed"]) == ("running", 1.5, [])
    info.end(6, "interrupted")
    again = RunInfo(path)
    again.start(torch.device("cpu"), 6, None)
    again.update(transport_cost=3.0)
    again.end(12, "finished")
    last = json.loads(path.read_text())
    assert last["started"] == first["started"]
    assert last["prior_fit_seconds"] == 1.5
    assert [record["step"] for record in last["resumed"]] == [6]
    assert (last["status"], last["step"], last["transport_cost"]) == ("finished", 12, 3.0)
    assert last["ended"] >= last["started"]


def test_a_torn_file_does_not_stop_a_run(tmp_path: Path) -> None:
    (tmp_path / "info.json").write_text('{"status": "run')
    info = RunInfo(tmp_path / "info.json")
    assert info.read() == {}
    info.start(torch.device("cpu"), 3, None)
    assert info.read()["status"] == "running"
