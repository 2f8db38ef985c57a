"""Finished cells are read, unfinished ones made, and a file is whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from benchmarks.studies.store import Store, choose_cells
from flowprior.errors import OptionError


def test_a_finished_cell_is_not_made_again(tmp_path: Path) -> None:
    store, made = Store("toy", tmp_path), []

    def make() -> dict[str, object]:
        made.append(1)
        return {"figure": 2.5, "nfes": (1, 2)}

    first = store.run("a:b-seed0", make, setting="a:b", seed=0, steps=10)
    assert first == store.run("a:b-seed0", make, setting="a:b", seed=0, steps=10)
    assert len(made) == 1
    assert first["figure"] == 2.5
    assert first["nfes"] == [1, 2]
    assert {"seconds", "threads", "torch", "processor", "commit"} <= first.keys()
    assert store.cells() == [first]
    assert store.path("a:b-seed0").name == "a-b-seed0.json"


def test_another_budget_or_a_damaged_file_is_made_again(tmp_path: Path) -> None:
    store = Store("toy", tmp_path)
    store.run("a", lambda: {"figure": 1}, steps=10)
    assert store.run("a", lambda: {"figure": 2}, steps=20)["figure"] == 2
    store.path("a").write_text('{"figure": ')
    assert store.run("a", lambda: {"figure": 3}, steps=20)["figure"] == 3


def test_a_cell_that_fails_leaves_no_file(tmp_path: Path) -> None:
    store = Store("toy", tmp_path)
    with pytest.raises(ZeroDivisionError):
        store.run("a", lambda: {"figure": 1 / 0})
    assert store.cells() == []


def test_cells_of_another_judge_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    store = Store("toy", tmp_path)
    store.run("a", lambda: {"features": ["cnn128 sha256 1"]})
    store.run("b", lambda: {"w2_squared": 1.0})
    store.expect_judge(["cnn128 sha256 1"])
    with pytest.raises(OptionError, match="toy: its finished cells were judged by cnn128 sha256 1, not by"):
        store.expect_judge(["cnn128 sha256 2"])


def test_shards_share_out_all_cells() -> None:
    cells = list(range(7))
    assert (
        sorted(choose_cells(cells, "0/3") + choose_cells(cells, "1/3") + choose_cells(cells, "2/3")) == cells
    )
    with pytest.raises(typer.BadParameter, match="expected i/n"):
        choose_cells(cells, "3/3")
