"""What the data choose for a study is chosen once, for all processes that divide its cells among them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from flowprior.inspection import Choice, choose_design
from flowprior.storage.lock import FolderLock
from flowprior.study import Splits, chosen, run_grid, running
from flowprior.study.cell_file import StudyFolder
from flowprior.study.chosen import asks_for_choice, recorded_choice
from tests.inspection.test_choice import ring
from tests.study.conftest import tiny_grid

AUTO: dict[str, Any] = {"priors": ["auto", "gaussian"], "couplings": ["auto"], "data": "moons:n=300"}
FIRST = Choice("gmm", "ot", "data: some", "gmm + ot: for a test")
OTHER = Choice("latent-gmm", "posterior", "data: some", "latent-gmm + posterior: for a test")


def test_a_grid_asks_for_a_choice_where_it_names_no_prior() -> None:
    assert asks_for_choice(tiny_grid(**AUTO))
    assert not asks_for_choice(tiny_grid())


@pytest.mark.slow
def test_the_choice_is_the_same_whatever_was_drawn_before_and_with_more_threads() -> None:
    threads, data = torch.get_num_threads(), ring(400, labels=True)
    torch.manual_seed(1)
    first = choose_design(data)
    try:
        torch.set_num_threads(threads + 1)
        torch.manual_seed(2)
        torch.rand(7)
        again = choose_design(data)
    finally:
        torch.set_num_threads(threads)
    assert (again.prior, again.coupling) == (first.prior, first.coupling)


def test_shards_that_would_choose_differently_divide_one_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []
    monkeypatch.setattr(running, "run_cell", lambda cell, *_: trained.append(cell.name))
    grid = tiny_grid(**AUTO)
    for shard, choice in enumerate((FIRST, OTHER)):
        monkeypatch.setattr(chosen, "choose_for", lambda *_, found=choice: found)
        run_grid(grid, tmp_path, shard=(shard, 2))
    assert len(trained) == len(set(trained)) == 4
    assert sum(name.startswith("gmm+ot") for name in trained) == 2
    plan = json.loads((tmp_path / "plan.json").read_text(encoding="utf-8"))
    assert sorted(cell["name"] for of in plan["variants"] for cell in of["cells"]) == sorted(trained)


def test_other_data_choose_anew_and_so_do_they_where_the_file_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, grid = StudyFolder(tmp_path), tiny_grid(**AUTO)
    splits, others = (Splits.load(f"moons:n={n}") for n in (300, 400))
    choices = iter((FIRST, OTHER, FIRST))
    monkeypatch.setattr(chosen, "choose_for", lambda *_: next(choices))
    assert recorded_choice(grid, splits, folder) == recorded_choice(grid, splits, folder) == FIRST
    assert recorded_choice(grid, others, folder) == OTHER
    folder.choice.write_text("{", encoding="utf-8")
    assert recorded_choice(grid, others, folder) == FIRST


def test_who_comes_second_waits_for_the_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[bool] = []

    def look(*_: Any) -> Choice:
        with pytest.raises(Exception, match="is being written by another process"), FolderLock(tmp_path):
            pass
        held.append(True)
        return FIRST

    monkeypatch.setattr(chosen, "choose_for", look)
    recorded_choice(tiny_grid(**AUTO), Splits.load("moons:n=300"), StudyFolder(tmp_path))
    assert held == [True]
    assert not (tmp_path / ".lock").exists()


def test_a_grid_that_names_its_priors_leaves_no_file(tmp_path: Path) -> None:
    assert recorded_choice(tiny_grid(), Splits.load("digits"), StudyFolder(tmp_path)) is None
    assert not any(tmp_path.iterdir())
