"""A long training's curves, made up so that the lead is known; and pieces that a signal ended."""

from __future__ import annotations

import itertools
import json
import sys

import pandas
import pytest

from benchmarks.studies import long_curves, long_training
from benchmarks.studies.lead import GRID
from benchmarks.studies.long_curves import NFES, OURS
from benchmarks.studies.tables import BASE, FEATURES
from flowprior.evaluation.result import table_row

STEPS = [3 * k for k in range(1, 21)]


def table(ours_ends_at: float = 0.5) -> pandas.DataFrame:
    """The base falls to 1; ours is half of it, and ends where it is told; validation says nonsense."""
    rows = []
    for step in STEPS:
        base = 60 / step
        ours = base / 2 if step < STEPS[-1] else ours_ends_at
        for flow, value in ((BASE, base), (OURS, ours)):
            for nfe in NFES:
                told = {"flow": flow, "seed": 0, "step": step, "nfe": nfe}
                for metric in FEATURES:
                    rows.append(table_row(metric, value, split="test", **told))
                    rows.append(table_row(metric, 1000.0, split="validation", **told))
    for flow, value in ((BASE, 1.0), (OURS, ours_ends_at)):
        for nfe in NFES:  # the trained flows: only the base has a better grid than equal steps
            for sampler, factor in (("euler", 2.0 if flow == BASE else 1.0), (GRID, 1.0)):
                told = {"flow": flow, "seed": 0, "nfe": nfe, "sampler": sampler}
                for metric, split in itertools.product(FEATURES, ("test", "validation")):
                    rows.append(table_row(metric, factor * value, split=split, **told))
    return pandas.DataFrame(rows)


def test_the_lead_is_a_ratio_of_test_values_at_every_step():
    found = long_curves.lead(table(), FEATURES[0])
    assert found.shape == (len(NFES), len(STEPS))
    assert (found.iloc[:, :-1] == 0.5).all(axis=None)


def test_columns_double_up_to_the_last_step():
    assert list(long_curves.shown(table(), FEATURES[1]).columns) == [3, 6, 15, 30, 60]


def test_who_is_ahead_at_the_end_is_said():
    assert long_curves.overtaken(table()) == []
    assert long_curves.overtaken(table(1.2)) == [
        f"{metric}, NFE {nfe}" for metric in FEATURES for nfe in NFES
    ]


def test_pieces_are_read_and_those_that_were_killed_counted(tmp_path):
    assert long_curves.read_pieces(tmp_path) == {}
    pieces = {OURS: [{"code": -9, "run": {}}, {"code": 0, "run": {}}]}
    (tmp_path / long_curves.PIECES).write_text(json.dumps(pieces))
    assert len(long_curves.killed(long_curves.read_pieces(tmp_path)[OURS])) == 1


@pytest.fixture
def trainings(monkeypatch, tmp_path):
    """In place of the study a process that ends with a code of a list, one at each start."""
    codes: list[str] = []
    real = long_training.subprocess.Popen
    monkeypatch.setattr(
        long_training.subprocess,
        "Popen",
        lambda command, **how: real([sys.executable, "-c", codes.pop(0)], **how),
    )
    monkeypatch.setattr(long_training, "MINUTES", (0.002, 0.003))
    monkeypatch.setattr(long_training, "RESULTS", tmp_path)
    return codes


SLEEPS, ENDS, FAILS = "import time; time.sleep(60)", "", "raise SystemExit(3)"


def test_a_training_is_killed_and_started_again_until_it_ends(trainings, tmp_path):
    trainings += [SLEEPS, SLEEPS, ENDS]
    long_training.train_in_pieces(tmp_path, OURS, "0/2", kills=2, seed=0)
    long_training.collect_pieces(tmp_path, [OURS])
    pieces = long_curves.read_pieces(tmp_path)[OURS]
    assert [piece["code"] for piece in pieces] == [-9, -9, 0]
    assert pieces[-1]["run"] == {"status": None, "logged": 0, "resumed": []}
    assert trainings == []


def test_an_error_of_the_study_is_told(trainings, tmp_path):
    trainings += [FAILS]
    with pytest.raises(RuntimeError, match=r"the study of default ended with 3; .*log-default\.txt"):
        long_training.train_in_pieces(tmp_path, OURS, "0/2", kills=0, seed=0)


def test_the_chart_is_drawn(tmp_path):
    long_curves.draw_curves(table(), tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 5000
