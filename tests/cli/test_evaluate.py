"""flowprior evaluate: the library's values, as a table, JSON and a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

from flowprior import Flow, evaluate
from flowprior.cli.evaluate import specs
from flowprior.data import load_data
from tests.cli.conftest import Call

OPTIONS = ["--nfe", "1,2", "--samples", "50", "--seed", "4"]


def test_json_is_the_librarys_evaluation(call: Call, run: Path, tmp_path: Path) -> None:
    answer = call("evaluate", run, *OPTIONS, "--json", "--out", tmp_path / "e.json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    test = load_data("digits", "test")
    expected = evaluate(Flow.load(run / "flow"), "digits", reference=test, nfe=(1, 2), samples=50, seed=4)
    assert {row["nfe"] for row in found["rows"]} == {None, 1, 2}
    for ours, theirs in zip(found["rows"], expected.rows, strict=True):
        assert {**ours, "value": 0} == {**theirs, "value": 0}
        assert ours["metric"] == "seconds" or ours["value"] == pytest.approx(theirs["value"], rel=1e-6)
    assert found["metrics"]["accuracy"]["better"] == "higher"
    assert json.loads((tmp_path / "e.json").read_text()) == found


def test_several_samplers_and_seeds_in_one_call(call: Call, run: Path, tmp_path: Path) -> None:
    options = ["--nfe", "2", "--samples", "20", "--sampler", "euler:grid=cosine,heun", "--seeds", "0,1"]
    answer = call("evaluate", run, *options, "--metrics", "w2", "--plot", tmp_path / "p.png", "--json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    settings = {(row["sampler"], row["seed"]) for row in found["rows"] if row["sampler"]}
    assert settings == {(s, seed) for s in ("euler:grid=cosine", "heun") for seed in (0, 1)}
    assert (tmp_path / "p.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("euler", ["euler"]),
        ("euler, heun:grid=cosine", ["euler", "heun:grid=cosine"]),
        ("dopri5:rtol=1e-6,atol=1e-6,euler", ["dopri5:rtol=1e-6,atol=1e-6", "euler"]),
        ("clip:path=/a,sha256=1,lite0", ["clip:path=/a,sha256=1", "lite0"]),
        ("", []),
    ],
)
def test_commas_separate_specs_and_their_options(text: str, expected: list[str]) -> None:
    assert specs(text) == expected


def test_the_table_needs_neither_pandas_nor_matplotlib(
    call: Call, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pandas", "matplotlib", "jinja2"):
        monkeypatch.setitem(sys.modules, name, None)
    assert "w2_squared" in call("evaluate", run, "--nfe", "0,1", "--samples", "20", "--metrics", "w2").out


def test_several_references_are_evaluated_apart_in_one_call(call: Call, run: Path) -> None:
    options = ["--nfe", "2", "--samples", "20", "--metrics", "w2", "--reference", "one=digits"]
    other = ["--reference", "other=digits:seed=3"]
    answer = call("evaluate", run, *options, *other, "--json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    rows = {row["split"]: row for row in found["rows"] if row["metric"] == "w2_squared" and row["nfe"] == 2}
    assert set(rows) == {"one", "other"}
    assert rows["one"]["value"] != rows["other"]["value"]
    assert "one examples of digits" in rows["one"]["reference"]
    alone = json.loads(call("evaluate", run, *options[:-2], "--json").out)
    values = [row["value"] for row in alone["rows"] if row["metric"] == "w2_squared" and row["nfe"] == 2]
    assert values == [rows["one"]["value"]]
    tables = call("evaluate", run, *options, *other).out
    assert tables.count("gmm + condot on digits") == 2


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--features", "lite1", "did you mean 'lite0'?"),
        ("--features", "lite0:size=2", "lite0"),
        ("--metrics", "quick,fidd", "did you mean 'fid'?"),
        ("--sampler", "midpoit", "did you mean 'midpoint'?"),
        ("--sampler", "rk4", "nfe=1 cannot be spent exactly"),
        ("--guidance", "2", "condition dropout"),
        ("--out", "FILE/e.json", "is a file, not a folder"),
        ("--plot", "FILE/p.svg", "is a file, not a folder"),
    ],
)
def test_every_option_is_checked_before_a_classifier_is_trained(
    option: str, value: str, said: str, call: Call, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = Mock(side_effect=AssertionError("trained too early"))
    monkeypatch.setattr("flowprior.features.classifier.data_classifier", trained)
    (tmp_path / "file").touch()
    chosen = value.replace("FILE", str(tmp_path / "file"))
    answer = call("evaluate", run, "--nfe", "1", "--samples", "50", option, chosen)
    assert (answer.code, len(answer.err.strip().splitlines())) == (2, 1)
    assert said in answer.err
