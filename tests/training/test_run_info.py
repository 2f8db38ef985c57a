"""info.json: what ran where."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import torch

from flowprior.training import run
from flowprior.training.run import RunInfo, git_commit, package_commit


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
    monkeypatch.setattr(run, "__file__", str(site))
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
