"""An evaluation in the model card: its values and the reference's digest land there, once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from flowprior.data import load_data
from flowprior.data.base import data_digest
from flowprior.extensions.hub.card import CARD
from tests.cli.conftest import SHORT, Call, call_app

OPTIONS = ["--samples", "40", "--metrics", "w2", "--json"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "digits"
    parts = ["--data", "digits", "--prior", "gaussian", "--coupling", "condot", "--model", "mlp:width=8"]
    answer = call_app("train", *parts, "--steps", "4", *SHORT, "--out", out)
    assert answer.code == 0, answer.err
    return out


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def card_of(run: Path) -> str:
    return (run / "flow" / CARD).read_text(encoding="utf-8")


def lines_of(card: str) -> list[list[str]]:
    """The cells of the table of values."""
    section = card.partition("## Evaluation")[2]
    cells = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in section.splitlines()]
    return [line for line in cells if len(line) == 8][2:]


def evaluated(call: Call, run: Path, *options: str) -> dict[str, Any]:
    answer = call("evaluate", run, *OPTIONS, *options)
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


def test_every_value_is_in_the_card_with_the_digest_of_the_reference(call: Call, run: Path) -> None:
    found = evaluated(call, run, "--nfe", "0,2")
    told = {(line[1], line[2], line[4]): line for line in lines_of(card_of(run))}
    rows = [row for row in found["rows"] if row["metric"] == "w2_squared"]
    assert {row["nfe"] for row in rows} == {0, 2, None}, "the prior alone, the flow, and real data"
    for row in rows:
        real = row["flow"] == "real data"
        key = ("real data", "", "w2_squared") if real else (row["sampler"], str(row["nfe"]), "w2_squared")
        assert float(told[key][5]) == pytest.approx(row["value"], rel=1e-3)
        assert told[key][6] == str(row["samples"])
    assert "seconds" not in {key[2] for key in told}, "a machine's seconds are no quality"
    test = load_data("digits", "test")
    assert f"{len(test)} test examples of digits, sha256 {data_digest(test)}" in card_of(run)


def test_another_evaluation_takes_the_place_of_the_first(call: Call, run: Path) -> None:
    before = card_of(run)
    evaluated(call, run, "--nfe", "1")
    first = card_of(run)
    evaluated(call, run, "--nfe", "1")
    assert card_of(run) == first, "the same evaluation gives the same card"
    evaluated(call, run, "--nfe", "2", "--seeds", "0,1")
    training, _ = card_of(run).partition("## Training")[2].split("## Evaluation")
    assert training in before
    assert {line[2] for line in lines_of(card_of(run)) if line[1] == "euler"} == {"2"}
    assert all("±" in line[5] for line in lines_of(card_of(run)) if line[4] == "w2_squared")


def test_an_unfinished_run_is_evaluated_without_a_card(call: Call, run: Path) -> None:
    shutil.rmtree(run / "flow")
    answer = call("evaluate", run, *OPTIONS, "--nfe", "1")
    assert answer.code == 0, answer.err
    assert "newest checkpoint is used" in answer.err
    assert not list(run.rglob(CARD))


def test_a_card_that_cannot_be_written_gives_values_and_one_warning(call: Call, run: Path) -> None:
    (run / "flow" / CARD).unlink()
    (run / "flow" / CARD).mkdir()
    answer = call("evaluate", run, *OPTIONS, "--nfe", "1")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["rows"]
    (line,) = [line for line in answer.err.splitlines() if "warning" in line]
    assert "the model card of" in line
