"""What a run would do is said before: states of the runs, and what is refused."""

from __future__ import annotations

from pathlib import Path

from flowprior.study import preview_grid
from tests.study.conftest import tiny_grid


def test_of_a_new_grid_everything_waits_and_nothing_is_written(tmp_path: Path) -> None:
    found = preview_grid(tiny_grid(), tmp_path / "out")
    assert [(run.variant, run.seed) for run in found.runs[:2]] == [
        ("gaussian + condot", 0),
        ("gaussian + ot", 0),
    ]
    assert {run.state for run in found.runs} == {"waiting"}
    assert len(found.to_run) == 8
    assert not (tmp_path / "out").exists()


def test_finished_cells_are_left_and_nothing_is_written(copied: Path) -> None:
    before = sorted(copied.rglob("*"))
    found = preview_grid(tiny_grid(seeds=3), copied)
    states = {(run.seed, run.state) for run in found.runs}
    assert states == {(0, "finished"), (1, "finished"), (2, "waiting")}
    assert preview_grid(tiny_grid(), copied).to_run == []
    assert sorted(copied.rglob("*")) == before


def test_cells_that_were_begun_or_have_failed_are_told_apart(copied: Path) -> None:
    first, second, *_ = sorted(copied.glob("cells/*/result-*.json"))
    first.rename(first.with_name(first.name.replace("result", "failure")))
    second.unlink()
    states = [run.state for run in preview_grid(tiny_grid(), copied).runs]
    assert sorted(states) == ["begun", "failed", *["finished"] * 6]
