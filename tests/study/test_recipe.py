"""The recipe "add a study": one TOML file, run by the command line end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import call_app

STUDY = """
data = "digits"
model = "mlp:width=16"
seeds = 2
nfe = [0, 1]
samples = 40
conditions = "balanced"
validation = 100
baseline = "standard normal"
values = "tests.study.hooked:values"

[variants."standard normal"]
prior = "gaussian"
coupling = "condot"

[variants."two components"]
prior = "gmm:components=2"
coupling = "ot"

[training]
steps = 3
warmup = 1
batch_size = 16
device = "cpu"

[curve]
points = 0
"""


@pytest.mark.slow
def test_a_study_is_one_file(tmp_path: Path, cache: Path) -> None:
    path, out = tmp_path / "study.toml", tmp_path / "out"
    path.write_text(STUDY)
    answer = call_app("compare", path, "--out", out, "--json")
    assert answer.code == 0, answer.err
    assert {row["variant"] for row in json.loads(answer.out)["best"]} <= {"standard normal", "two components"}
    report = json.loads((out / "report.json").read_text())
    assert report["baseline"] == "standard normal"
    assert {row["flow"] for row in report["rows"]} == {"standard normal", "two components", "real data"}
    assert {row["split"] for row in report["rows"] if row["metric"] == "accuracy"} == {"test", "validation"}
    again = call_app("compare", "--out", out, "--allow-hooks", "--json")
    assert (again.code, again.out, again.err) == (0, answer.out, "")
