"""``pytest benchmarks --benchmark-only``, word for word: accepted, green, readable; names what is missing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.operators.comparison import operators
from benchmarks.operators.peers import COMPILER, OURS, PEERS
from flowprior.ops.backend import native_devices
from tests.markdown_blocks import REPOSITORY, blocks

LINE = "pytest benchmarks --benchmark-only"
GROUP = "gmm_log_prob, 512 x 784, K = 1"


def run(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The line with further options, as a process in the repository.

    Without the marks of a pytest-xdist worker, in which pytest-benchmark times nothing.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST_")}
    return subprocess.run(
        [sys.executable, "-m", *LINE.split(), *options],
        cwd=REPOSITORY,
        env={**own, "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
    )


def test_the_line_is_the_readmes():
    console = "\n".join(blocks(REPOSITORY / "README.md", "console"))
    assert f"$ {OURS}\n$ {PEERS}\n$ {LINE}\n" in console


@pytest.mark.slow
def test_a_group_runs_green_in_one_process_and_is_read_by_the_page(tmp_path: Path):
    """A group where no compiler and no scikit-learn is found, and pytest is asked for two processes.

    It has a row for each way in a unit that is read, and skips name the line that installs what is missing.
    """
    pytest.importorskip("pytest_benchmark")
    (tmp_path / "empty").mkdir()
    (tmp_path / "sklearn.py").write_text("raise ImportError('not here')\n")
    report = tmp_path / "run.json"
    finished = run(
        "-rs",
        "--threads=1",
        "-k",
        "test_gmm_log_prob and 512x784x1 and not log_prob_all",
        f"--benchmark-json={report}",
        PATH=str(tmp_path / "empty"),
        PYTHONPATH=os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
        PYTEST_ADDOPTS="-n 2",
    )
    output = finished.stdout + finished.stderr
    assert finished.returncode == 0, output
    assert "workers" not in output
    table = output.split(f"benchmark '{GROUP}'")[1].split("Ratios")[0]
    native = ["flowprior native"] if "cpu" in native_devices() else []
    for row in ("flowprior fallback", "MixtureSameFamily", *native):
        assert f"\n{row} " in table
    assert "Name (time in us)" in table or "Name (time in ms)" in table
    skips = [line for line in output.splitlines() if line.startswith("SKIPPED")]
    assert any(line.endswith(f": {OURS}") for line in skips), output
    assert any(line.endswith(f": {COMPILER}") for line in skips)
    assert all("data" not in row["stats"] for row in json.loads(report.read_text())["benchmarks"])
    start = f"| {GROUP.replace(' x ', ' × ')} | "
    (row,) = (line for line in operators(report)["table"].splitlines() if line.startswith(start))
    assert re.search(r"\bMixtureSameFamily (\*\*)?\d+\.\d", row), f"no ratio, bold above its goal: {row}"


@pytest.mark.slow
def test_without_pytest_benchmark_the_line_says_what_installs_it():
    finished = run("-p", "no:benchmark", PYTEST_ADDOPTS="")
    assert finished.returncode == pytest.ExitCode.USAGE_ERROR
    assert finished.stderr.strip() == f"ERROR: the benchmarks need pytest-benchmark: {OURS}"
