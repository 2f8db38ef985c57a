"""flowprior evaluate: the library's figures, as a table, JSON and a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flowprior import Flow, evaluate
from flowprior.data import load_data
from tests.cli.conftest import Call

OPTIONS = ["--nfe", "1,2", "--samples", "50", "--seed", "4"]


def test_json_is_the_librarys_evaluation(call: Call, run: Path, tmp_path: Path) -> None:
    answer = call("evaluate", run, *OPTIONS, "--json", "--out", tmp_path / "e.json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    test = load_data("digits", "test")
    expected = evaluate(Flow.load(run / "flow"), "digits", reference=test, nfe=(1, 2), samples=50, seed=4)
    assert [row["nfe"] for row in found["rows"]] == [1, 2]
    for ours, theirs in zip(found["rows"], expected.as_dict()["rows"], strict=True):
        for metric in expected.metrics:
            assert ours[metric] == pytest.approx(theirs[metric], rel=1e-6)
    assert json.loads((tmp_path / "e.json").read_text()) == found


def test_the_table_has_a_row_for_each_nfe(call: Call, run: Path) -> None:
    answer = call("evaluate", run, *OPTIONS)
    assert answer.code == 0, answer.err
    for word in ("fid-cnn128", "accuracy", "w2_squared", "transport cost", "gmm + condot on digits"):
        assert word in answer.out


def test_what_a_sampler_cannot_spend_is_noted(call: Call, run: Path) -> None:
    answer = call("evaluate", run, "--nfe", "1,2", "--samples", "20", "--sampler", "midpoint", "--json")
    found = json.loads(answer.out)
    assert [row["nfe"] for row in found["rows"]] == [2]
    assert any("nfe=1 left out" in note for note in found["notes"])
