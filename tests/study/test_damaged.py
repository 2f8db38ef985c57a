"""Files of a study that are damaged or somebody else's are refused in one line, and a run measures again."""

from __future__ import annotations

import copy
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowprior.errors import CheckpointError, FlowpriorError
from flowprior.report import write_report
from flowprior.study import Grid, StudyFolder, run_grid, running
from flowprior.study.folder import read_study
from flowprior.study.grid import grid_from_dict
from flowprior.study.running import preview_grid
from flowprior.study.summary import summarise
from flowprior.study.table import read_table

WRONG: tuple[Any, ...] = ("deleted", None, "x", -1, [], {}, 10**400, float("nan"))
MUTATIONS = 60


def points_grid() -> Grid:
    """One step on points of the plane."""
    return grid_from_dict(
        {
            "data": "eight-modes:n=200",
            "model": "mlp:width=8,depth=1",
            "priors": ["gaussian"],
            "couplings": ["condot"],
            "seeds": 1,
            "nfe": [0, 1],
            "samples": 20,
            "training": {"steps": 1, "batch_size": 16, "device": "cpu"},
            "curve": {"points": 0},
            "evaluation": {"metrics": ["w2"], "classifier": "none"},
        }
    )


@pytest.fixture(scope="module")
def finished_points(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished study with its report; not to be written to."""
    out = tmp_path_factory.mktemp("studies") / "points"
    assert run_grid(points_grid(), out).finished == 1
    write_report(out)
    return out


@pytest.fixture
def out(finished_points: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may damage."""
    return Path(shutil.copytree(finished_points, tmp_path / "out"))


def result_of(out: Path) -> Path:
    return next(out.glob("cells/*/result-*.json"))


def mutations(tree: Any) -> Iterator[Any]:
    """The tree with every value deleted or replaced, one at a time; of a list only the first one."""
    for at in places(tree):
        for wrong in WRONG:
            changed = copy.deepcopy(tree)
            inner = changed
            for key in at[:-1]:
                inner = inner[key]
            inner[at[-1]] = wrong
            if wrong == "deleted":
                del inner[at[-1]]
            yield changed


def places(tree: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree[:1]) if isinstance(tree, list) else ()
    for key, value in items:
        yield (*at, key)
        yield from places(value, (*at, key))


@pytest.mark.parametrize("name", ["plan", "result"])
def test_a_damaged_file_is_one_line_whatever_is_wrong(out: Path, name: str) -> None:
    path = out / "plan.json" if name == "plan" else result_of(out)
    found = list(mutations(json.loads(path.read_text())))
    refused: list[str] = []
    for changed in random.Random(0).sample(found, MUTATIONS):
        path.write_text(json.dumps(changed))
        try:
            summarise(read_study(StudyFolder(out)))
            read_table(out)
        except FlowpriorError as error:
            refused.append(str(error))
    assert not any("\n" in message for message in refused)
    assert MUTATIONS / 4 < len(refused) < MUTATIONS  # keys that nothing reads may hold anything


def test_a_damaged_file_names_the_place_and_what_to_do(out: Path) -> None:
    path = out / "plan.json"
    plan = json.loads(path.read_text())
    plan["variants"][0]["runs"][0]["name"] = "../../elsewhere"
    path.write_text(json.dumps(plan))
    with pytest.raises(CheckpointError) as caught:
        write_report(out)
    words = (str(path), "variants.0.runs.0.name: ", "'../../elsewhere'", f"compare --out {out}")
    assert all(word in str(caught.value) for word in words)


def test_the_result_of_another_run_is_refused(out: Path) -> None:
    path = result_of(out)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"key": "0123456789"}))
    with pytest.raises(CheckpointError, match="another run's: expected the key"):
        read_study(StudyFolder(out))


@pytest.mark.parametrize("text", ["{}", "no JSON"])
def test_a_run_with_a_damaged_result_is_measured_again(
    out: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, told = json.loads(result_of(out).read_text()), list[str]()
    result_of(out).write_text(text)
    (out / "plan.json").write_text("[]")
    assert [run["state"] for run in preview_grid(points_grid(), out)["runs"]] == ["begun"]
    monkeypatch.setattr(running, "train", lambda *_, **__: pytest.fail("the flow was trained again"))
    assert run_grid(points_grid(), out, notify=told.append).finished == 1
    assert told[0].startswith("measured again: gaussian + condot, seed 0: ")
    values = [
        [row["value"] for row in found["rows"] if row["metric"] == "w2_squared"]
        for found in (before, json.loads(result_of(out).read_text()))
    ]
    assert values[0] == values[1]
