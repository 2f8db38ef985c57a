"""What ``compare --check`` must see: rows of no evaluation, none at all, options of no grid."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowprior.errors import CheckpointError, OptionError
from flowprior.report import write_report
from flowprior.study import check_report


def change(out: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    """Edit the first cell file."""
    path = sorted(out.glob("cells/*/result-*.json"))[0]
    cell = json.loads(path.read_text())
    edit(cell)
    path.write_text(json.dumps(cell))


@pytest.mark.slow
def test_a_row_that_was_added_is_a_difference(copied: Path) -> None:
    def add(cell: dict[str, Any]) -> None:
        row = next(row for row in cell["rows"] if row["metric"] == "accuracy" and row["nfe"] == 2)
        cell["rows"].append({**row, "nfe": 64, "value": 1.0})

    assert check_report(copied).differences == []
    change(copied, add)
    write_report(copied)
    (difference,) = check_report(copied).differences
    assert "a row of no evaluation, of accuracy is 1.0, computed again None" in difference


def test_a_cell_without_evaluations_is_refused(copied: Path) -> None:
    change(copied, lambda cell: cell["run"].update(evaluations=[]))
    with pytest.raises(CheckpointError, match=r"run\.evaluations.* at least 1 item.*; remove it and run"):
        check_report(copied)


def test_options_that_a_grid_cannot_have_are_refused_and_nothing_is_written(copied: Path) -> None:
    target = copied.parent / "elsewhere"
    options = {"folder": str(target)}
    change(copied, lambda cell: cell["run"]["evaluations"][0]["request"]["options"].update(options))
    with pytest.raises(OptionError, match=r"evaluation\.folder is not possible"):
        check_report(copied)
    assert not target.exists()
