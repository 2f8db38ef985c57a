"""flowprior compare: a grid from options or a file, its report, exit codes, and Ctrl-C in a real process."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

from flowprior.study import load_grid
from tests.cli.conftest import Call, succeed

BUDGET = [
    "--steps",
    "6",
    "--samples",
    "40",
    "--nfe",
    "1,2",
    "--model",
    "mlp:width=16",
    "--set",
    "curve.points=0",
    "--set",
    "evaluation.metrics=['fid']",
]
SHORT = ["--set", "training.batch_size=16", "--set", "training.warmup=1", "--set", "training.device=cpu"]
PRIORS = ["--prior", "gaussian", "--prior", "two=gmm:components=2"]
GRID = ["--data", "digits", *PRIORS, "--coupling", "condot", "--seeds", "2", *BUDGET, *SHORT]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished comparison, run by the command line; not to be written to."""
    out = tmp_path_factory.mktemp("comparisons") / "out"
    answer = succeed("compare", *GRID, "--out", out)
    assert "run 4 of 4: two + condot, seed 1" in answer.err
    assert "fid-cnn128 (lower is better) on digits, auto" in answer.out
    assert "two + condot" in answer.out
    return out


def test_options_make_a_grid_whose_file_runs_nothing_again(
    call: Call, compared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (compared / "report.html").read_text()
    monkeypatch.setattr("flowprior.report.page._page", lambda *_: page)
    grid = load_grid(compared / "grid.toml")
    priors = {label: spec.prior for label, spec in grid.variants.items()}
    assert priors == {"gaussian + condot": "gaussian", "two + condot": "gmm:components=2"}
    assert (grid.seeds, grid.nfe, grid.samples, grid.training.steps) == ((0, 1), (1, 2), 40, 6)
    before = {path: path.stat().st_mtime_ns for path in compared.glob("cells/*/result-*.json")}
    assert len(before) == 4
    for given in ([compared / "grid.toml"], []):
        answer = call("compare", *given, "--out", compared, "--json")
        assert (answer.code, answer.err) == (0, "")
        found = json.loads(answer.out)
        assert found["report"] == str(compared / "report.html")
        assert (found["failed"], found["waiting"], found["skipped"]) == (0, 0, 0)
        assert {row["nfe"] for row in found["best"]} == {1, 2}
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_dry_run_says_what_is_done_and_what_is_left(call: Call, compared: Path) -> None:
    before = sorted(compared.rglob("*"))
    answer = call("compare", *GRID, "--seeds", "3", "--out", compared, "--dry-run")
    assert (answer.code, answer.err) == (0, "")
    assert "2 of 6 runs to make" in answer.out
    assert "each: 6 steps of 16 pairs, model mlp:width=16; 40 samples at NFE 1, 2" in answer.out
    found = json.loads(call("compare", *GRID, "--seeds", "3", "--out", compared, "--dry-run", "--json").out)
    assert found["to_run"] == 2
    assert [cell["state"] for cell in found["cells"]] == ["finished"] * 4 + ["waiting"] * 2
    assert "all 4 runs are finished" in call("compare", "--out", compared, "--dry-run").out
    assert sorted(compared.rglob("*")) == before


def test_report_only_writes_it_anew_and_a_plot(call: Call, compared: Path, tmp_path: Path) -> None:
    report = compared / "report.html"
    before = report.read_bytes()
    report.unlink()
    answer = call("compare", "--out", compared, "--report-only", "--plot", tmp_path / "q.svg")
    assert (answer.code, report.read_bytes() == before) == (0, True)
    assert ">NFE, evaluations of the network<" in (tmp_path / "q.svg").read_text()
    refused = call("compare", "--out", compared, "--report-only", "--plot", tmp_path / "q.txt")
    assert (refused.code, len(refused.err.strip().splitlines())) == (2, 1)


def test_ctrl_c_leaves_a_report_and_its_exit_code(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowprior.study.running.train_run", Mock(side_effect=KeyboardInterrupt))
    answer = call("compare", *GRID, "--seeds", "1", "--out", tmp_path)
    assert (answer.code, answer.err.splitlines()[-1]) == (130, "flowprior: interrupted")
    assert "2 waiting" in answer.out
    assert "have not been made yet" in (tmp_path / "report.html").read_text()


@pytest.mark.usefixtures("no_page")
def test_what_is_refused_is_said_and_exit_code_zero(call: Call, tmp_path: Path) -> None:
    options = ["--coupling", "posterior", "--seeds", "1", "--steps", "3"]
    answer = call("compare", *GRID, *options, "--out", tmp_path / "out")
    assert answer.code == 0, answer.err
    skipped = [line for line in answer.err.splitlines() if line.startswith("skipped ")]
    assert len(skipped) == 1
    assert skipped[0].startswith("skipped gaussian + posterior: coupling 'posterior'")
    assert "1 skipped" in answer.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--prior", "gmn"], ["unknown prior 'gmn'", "did you mean 'gmm'?"]),
        (["--data", "digitz"], ["unknown data set 'digitz'"]),
        (["--nfe", "1,two"], ["--nfe='1,two'"]),
        (["--seeds", "0"], ["seeds"]),
        (["--steps", "0"], ["steps=0"]),
        (["--set", "training.seed=1"], ["training.seed", "--seeds"]),
        (["--set", "curv.points=1"], ["unknown key 'curv'", "did you mean 'curve'?"]),
        (["--baseline", "vp + ot"], ["no variant 'vp + ot'", "gaussian + condot"]),
        (["--coupling", "posterior", "--prior", "gaussian"], ["no combination", "latent"]),
        (["--report-only"], ["holds no comparison"]),
        (["--report-only", "--dry-run"], ["--dry-run and --report-only exclude each other"]),
        (["--dry-run", "--prior", "gmn"], ["unknown prior 'gmn'"]),
        (["gone.toml"], ["cannot read gone.toml"]),
        (["--pior", "gmm"], ["no such option: --pior", "--prior"]),
    ],
)
def test_mistakes(call: Call, tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    out = tmp_path / "out"
    answer = call("compare", *arguments, "--out", out)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("flowprior: error: ")
    assert answer.err.count("\n") == 1
    for word in words:
        assert word in answer.err
    assert not out.exists()


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study folder, the current one, whose grid names a module that leaves a file where it is imported."""
    (tmp_path / "grid.toml").write_text('seeds = 1\ntrainer = "hostile_study:train"\n')
    (tmp_path / "hostile_study.py").write_text("open('ran', 'w').close()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "hostile_study", raising=False)
    return tmp_path


def test_a_study_folder_runs_no_code_unless_the_user_says_so(call: Call, hostile: Path) -> None:
    refused = call("compare", "--out", ".")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert all(word in refused.err for word in ("trainer='hostile_study:train'", "--allow-hooks"))
    for given in ([], ["grid.toml"], ["--allow-hooks"]):
        assert call("compare", *given, "--out", ".", "--dry-run").code == 0
    assert not (hostile / "ran").exists()
    assert "cannot be loaded" in call("compare", "grid.toml", "--out", ".").err  # it has no function `train`
    assert (hostile / "ran").exists()


@pytest.mark.usefixtures("no_page")
def test_a_report_of_a_study_folder_runs_no_code(call: Call, hostile: Path, compared: Path) -> None:
    out = hostile / "out"
    shutil.copytree(compared, out)
    plan = json.loads((out / "plan.json").read_text())
    plan["grid"]["values"] = "hostile_study:train"
    (out / "plan.json").write_text(json.dumps(plan))
    assert call("compare", "--out", out, "--report-only").code == 0
    assert not (hostile / "ran").exists()
    assert "cannot be loaded" in call("compare", "--out", out, "--report-only", "--allow-hooks").err
    assert (hostile / "ran").exists()
