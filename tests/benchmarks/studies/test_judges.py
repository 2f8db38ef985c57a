"""Judges: their committed weights are what they are named after, and one table has one judge."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.studies.protocol import CLASSIFIERS
from benchmarks.studies.report import formatting
from benchmarks.studies.report.class_conditional import class_conditional
from benchmarks.studies.report.formatting import RESULTS, cells
from benchmarks.studies.report.judges import MixedJudges, judge_sentence, needs_judge, one_judge

OURS, OTHER = "cnn128 sha256 " + "3e318618" + 56 * "0", "cnn128 sha256 " + "5568814b" + 56 * "0"


def cell(setting: str = "gmm+condot", **changes: Any) -> dict[str, Any]:
    row = {"nfe": 4, "fid-cnn128": 5.0, "fid-lite0": 50.0, "accuracy": 0.9}
    rows = [{**row, "nfe": nfe} for nfe in (0, 1, 2, 4, 8, 15, 30)]
    made = {"prior": "gmm", "coupling": "condot", "path": "condot", "prediction": "velocity", "peer": ""}
    budget = {"steps": 10, "batch_size": 8, "parameters": 9, "training_examples": 50, "samples": 20}
    ran = {"seconds": 60.0, "threads": 1, "processor": "a processor", "torch": "2", "seed": 0, "curve": []}
    judged = {"features": [OURS], "reference": "9 test examples", "floor": row}
    return {
        "setting": setting,
        **made,
        **budget,
        **ran,
        **judged,
        "rows": rows,
        "validation": rows,
        **changes,
    }


@pytest.fixture
def keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    monkeypatch.setattr(formatting, "RESULTS", tmp_path)
    monkeypatch.setattr("benchmarks.studies.report.class_conditional.RESULTS", tmp_path)

    def write(*kept: dict[str, Any]) -> None:
        (tmp_path / "pictures-10").mkdir()
        for number, one in enumerate(kept):
            (tmp_path / "pictures-10" / f"{number}.json").write_text(json.dumps(one))

    return write


def test_two_judges_in_one_table_are_refused_in_one_line(keep: Callable[..., None]) -> None:
    keep(cell("gaussian+condot"), cell("ours", features=[OTHER]))
    with pytest.raises(MixedJudges, match=r"pictures-10: expected one judge .*3e318618.*5568814b") as refused:
        class_conditional()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"reference": "8 test examples"},
        {"validation_reference": "7 validation examples"},
        {"samples": 21},
        {"features": None, "floor": {"fid-cnn128": 0.7}},
    ],
    ids=["reference", "validation", "samples", "unnamed"],
)
def test_another_reference_or_count_is_refused(keep: Callable[..., None], changes: dict[str, Any]) -> None:
    keep(cell("gaussian+condot", validation_reference="6 validation examples"), cell("ours", **changes))
    with pytest.raises(MixedJudges):
        class_conditional()


def test_judges_that_are_not_named_are_told_apart_by_their_real_data_score() -> None:
    unnamed = [cell(features=None, floor={"fid-cnn128": 5.799366407333821}) for _ in range(2)]
    one_judge(unnamed, "table")
    with pytest.raises(MixedJudges, match="one judge"):
        one_judge([*unnamed, cell(features=None, floor={"fid-cnn128": 5.799366623040214})], "table")
    assert "not written down" in judge_sentence(unnamed)


def test_cells_that_no_judge_has_seen_agree_with_any() -> None:
    free = {"rows": [{"nfe": 4, "w2_squared": 1.0}]}
    one_judge([free, cell()], "table")
    assert judge_sentence([free]) == ""
    assert "`cnn128 sha256 3e318618`" in judge_sentence([free, cell()])


def test_one_judge_is_named_in_the_text(keep: Callable[..., None]) -> None:
    keep(cell("gaussian+condot"), cell("ours"))
    assert "Judged by `cnn128 sha256 3e318618`" in class_conditional()


@pytest.mark.parametrize("folder", sorted(path.name for path in RESULTS.iterdir() if path.is_dir()))
def test_the_committed_cells_of_an_experiment_have_one_judge_whose_weights_are_committed(folder: str) -> None:
    digests = {path.stem.rsplit("-", 1)[1] for path in CLASSIFIERS.glob("*.safetensors")}
    for found in cells(folder):
        if needs_judge(found) and "features" in found:
            assert found["features"][0].split("sha256 ")[1][:8] in digests
