"""Cell files as one table: every value beside its setting, and one evaluator, reference and sample count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flowprior.errors import CheckpointError
from flowprior.evaluation.result import COLUMNS, REAL_DATA
from flowprior.report.markdown import evaluated_by
from flowprior.study.table import MixedEvaluations, means, read_runs, read_table, select, trained
from tests.study.stored import OTHER, OURS, Row, cell, keep, rows


def evaluated(label: str, real_data: float = 0.7, **columns: Any) -> Row:
    """A cell with two metrics of one classifier, a distance without, and a real-data score."""
    columns = {"features": OURS, "reference": "9 test examples", "samples": 20} | columns
    values = rows(label, nfe0=9.0, nfe4=5.0) + rows(label, "accuracy", nfe4=0.9)
    values += [{"flow": REAL_DATA, "split": "test", "metric": "fid-cnn128", "value": real_data}]
    held_out = rows(label, split="validation", nfe4=6.0)
    return cell(label, [row | columns for row in [*values, *held_out]] + rows(label, "w2_squared", nfe4=1.0))


def test_a_table_has_every_value_beside_what_decided_the_training(tmp_path: Path) -> None:
    keep(tmp_path, evaluated("a"), cell("b", rows("b", "w2_squared", nfe4=3.0), seed=1, steps=20))
    table = read_table(tmp_path)
    assert list(table.columns[: len(COLUMNS)]) == list(COLUMNS)
    assert len(table) == 7
    last = table.iloc[-1]
    assert (last["flow"], last["seed"], last["nfe"], last["value"]) == ("b", 1, 4, 3.0)
    assert (last["steps"], last["prior"], last["cell"]) == (20, "gmm", "001")
    assert table["step"].isna().all()
    assert list(read_runs(tmp_path)["seconds"]) == [60.0, 60.0]


def test_files_of_one_name_in_two_folders_are_two_cells(tmp_path: Path) -> None:
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        keep(folder, evaluated(folder.name))
    table = read_table([folder / "000.json" for folder in folders])
    assert table.groupby("cell")["flow"].first().to_dict() == {str(f / "000"): f.name for f in folders}


def test_means_are_of_the_trained_flows_on_one_split(tmp_path: Path) -> None:
    named = {"features": OURS}
    on_the_way = [row | named | {"step": 5} for row in rows("a", nfe4=99.0)]
    values = ([row | named for row in rows("a", nfe4=value)] for value in (1.0, 3.0))
    seeds = [cell("a", [*own, *on_the_way], seed) for seed, own in enumerate(values)]
    table = read_table(keep(tmp_path, *seeds, evaluated("b")))
    found = means(table, "fid-cnn128")
    assert found.loc["a", 4] == 2.0
    assert list(found.index) == ["a", "b"]
    assert means(table, "fid-cnn128", "validation").loc["b", 4] == 6.0
    assert set(trained(table, "accuracy")["flow"]) == {"b"}
    assert len(select(table, step=None, flow=["a", "b"], nfe=4)) == 6


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"features": OTHER}, r"evaluator .*3e318618 \(1 cells\) and .*5568814b"),
        ({"features": None}, "evaluator"),
        ({"reference": "8 test examples"}, "reference"),
        ({"samples": 21}, "samples"),
    ],
    ids=["evaluator", "unnamed", "reference", "samples"],
)
def test_several_in_one_table_are_refused_in_one_line(
    tmp_path: Path, changes: dict[str, Any], what: str
) -> None:
    folder = keep(tmp_path / "pictures", evaluated("a"), evaluated("b", **changes))
    with pytest.raises(MixedEvaluations, match=f"pictures: expected one {what}") as refused:
        read_table(folder)
    assert "\n" not in str(refused.value)


def test_another_validation_reference_alone_is_refused(tmp_path: Path) -> None:
    other = evaluated("b")
    for row in other["rows"]:
        if row["split"] == "validation":
            row["reference"] = "7 validation examples"
    with pytest.raises(MixedEvaluations, match="validation split"):
        read_table(keep(tmp_path, evaluated("a"), other))


def test_evaluators_that_are_not_named_are_told_apart_by_their_real_data_score(tmp_path: Path) -> None:
    same = [evaluated(label, 5.799366407333821, features=None) for label in "ab"]
    table = read_table(keep(tmp_path, *same))
    said = evaluated_by(table)
    assert "not written down" in said
    assert "(fid-cnn128 5.79937), so it was one evaluator" in said
    other = evaluated("c", 5.799366623040214, features=None)
    with pytest.raises(MixedEvaluations, match="one evaluator"):
        read_table(keep(tmp_path, *same, other))


def test_cells_that_need_no_evaluator_agree_with_any(tmp_path: Path) -> None:
    free = cell("free", rows("free", "w2_squared", nfe4=1.0))
    table = read_table(keep(tmp_path, free, evaluated("a")))
    assert evaluated_by(select(table, flow="free")) == ""
    assert evaluated_by(table) == "Evaluated by `cnn128 sha256 3e318618`."


def test_a_cell_of_another_format_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text(json.dumps({"format": 2, "rows": []}))
    with pytest.raises(CheckpointError, match=r"old\.json has format 2, .* run its study again"):
        read_table(tmp_path)


def test_a_folder_without_cells_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no cell files; give the OUT folder"):
        read_table(tmp_path / "nothere")


def test_the_folder_of_a_finished_study_is_read_whole(finished: Path) -> None:
    table = read_table(finished)
    report = json.loads((finished / "report.json").read_text())
    assert len(table) == len(report["rows"])
    row = report["quality"][-1]
    own = select(table, metric=row["metric"], flow=row["variant"], step=None, nfe=row["nfe"], split="test")
    by_sampler = own.groupby("sampler")["value"].mean()
    assert any(value == pytest.approx(row["mean"], rel=1e-12) for value in by_sampler)
    assert evaluated_by(table).startswith("Evaluated by `cnn128 sha256 ")
