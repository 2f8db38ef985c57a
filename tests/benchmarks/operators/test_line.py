"""``pytest benchmarks --benchmark-only``, word for word: accepted, green, readable; names what is missing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.operators.comparison import operators
from benchmarks.operators.peers import COMPILER, OURS, PEERS
from flowprior.ops.backend import native_devices
from tests.markdown_blocks import REPOSITORY, blocks

LINE = "pytest benchmarks --benchmark-only"
GROUP = "gmm_log_prob, 512 x 784, K = 1"


def _no_worker() -> dict[str, str]:
    """The environment without the marks of a pytest-xdist worker, in which pytest-benchmark times nothing."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST_")}


def run(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The line with further options, as a process in the repository."""
    return subprocess.run(
        [sys.executable, "-m", *LINE.split(), *options],
        cwd=REPOSITORY,
        env={**_no_worker(), "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
    )


@dataclass
class Finished:
    """What one group printed and wrote."""

    output: str
    code: int
    json: Path


@pytest.fixture(scope="module")
def one_group(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A group where no compiler and no scikit-learn is found, and pytest is asked for two processes."""
    pytest.importorskip("pytest_benchmark")
    folder = tmp_path_factory.mktemp("line")
    (folder / "empty").mkdir()
    (folder / "sklearn.py").write_text("raise ImportError('not here')\n")
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    report = folder / "run.json"
    finished = run(
        "-rs",
        "--threads=1",
        "-k",
        "test_gmm_log_prob and 512x784x1 and not log_prob_all",
        f"--benchmark-json={report}",
        PATH=str(folder / "empty"),
        PYTHONPATH=path,
        PYTEST_ADDOPTS="-n 2",
    )
    return Finished(finished.stdout + finished.stderr, finished.returncode, report)


def test_the_line_is_the_readmes():
    console = "\n".join(blocks(REPOSITORY / "README.md", "console"))
    assert f"$ {OURS}\n$ {PEERS}\n$ {LINE}\n" in console


@pytest.mark.slow
def test_a_group_runs_green_in_one_process(one_group: Finished):
    assert one_group.code == 0, one_group.output
    assert "workers" not in one_group.output


@pytest.mark.slow
def test_a_group_has_a_row_for_each_way_in_a_unit_that_is_read(one_group: Finished):
    table = one_group.output.split(f"benchmark '{GROUP}'")[1].split("Ratios")[0]
    rows = [
        "flowprior fallback",
        "MixtureSameFamily",
        *(["flowprior native"] if "cpu" in native_devices() else []),
    ]
    for row in rows:
        assert f"\n{row} " in table
    assert "Name (time in us)" in table or "Name (time in ms)" in table


@pytest.mark.slow
def test_the_reason_of_a_skip_is_the_line_that_installs_what_is_missing(one_group: Finished):
    skips = [line for line in one_group.output.splitlines() if line.startswith("SKIPPED")]
    assert any(line.endswith(f": {OURS}") for line in skips), one_group.output
    assert any(line.endswith(f": {COMPILER}") for line in skips)


@pytest.mark.slow
def test_what_a_run_writes_is_what_the_page_reads(one_group: Finished):
    rows = json.loads(one_group.json.read_text())["benchmarks"]
    assert all("data" not in row["stats"] for row in rows)
    page = operators(one_group.json)["table"]
    start = f"| {GROUP.replace(' x ', ' × ')} | "
    (row,) = (line for line in page.splitlines() if line.startswith(start))
    assert re.search(r"\bMixtureSameFamily (\*\*)?\d+\.\d", row), f"no ratio, bold above its goal: {row}"


@pytest.mark.slow
def test_without_pytest_benchmark_the_line_says_what_installs_it():
    finished = run("-p", "no:benchmark", PYTEST_ADDOPTS="")
    assert finished.returncode == pytest.ExitCode.USAGE_ERROR
    assert finished.stderr.strip() == f"ERROR: the benchmarks need pytest-benchmark: {OURS}"
