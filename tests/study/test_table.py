"""Results as one table, in memory and in a file: values beside their setting, and the same bytes again."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest

from flowprior.errors import CheckpointError
from flowprior.evaluation.result import COLUMNS, REAL_DATA
from flowprior.study.table import (
    MixedEvaluations,
    facts_of,
    read_rows,
    read_table,
    rows_of_run,
    write_results,
)
from tests.study.conftest import results
from tests.study.stored import OTHER, OURS, Row, keep, rows, run

COMMIT = 40 * "a"


def evaluated(label: str, real_data: float = 0.7, **columns: Any) -> tuple[Row, Row, list[Row]]:
    """A run with two metrics of one classifier, a distance without, and a real-data score."""
    columns = {"features": OURS, "reference": "9 test examples", "samples": 20} | columns
    values = rows(label, nfe0=9.0, nfe4=5.0) + rows(label, "accuracy", nfe4=0.9)
    values += [{"flow": REAL_DATA, "split": "test", "metric": "fid-cnn128", "value": real_data}]
    held_out = rows(label, split="validation", nfe4=6.0)
    return run(label, [row | columns for row in [*values, *held_out]] + rows(label, "w2_squared", nfe4=1.0))


def test_a_table_has_every_value_beside_what_decided_the_training(tmp_path: Path) -> None:
    other = run("b", rows("b", "w2_squared", nfe4=3.0), seed=1, steps=20)
    table = read_table(keep(tmp_path, evaluated("a"), other))
    assert list(table.columns[: len(COLUMNS)]) == list(COLUMNS)
    assert len(table) == 7
    last = table.iloc[-1]
    assert (last["flow"], last["seed"], last["nfe"], last["value"]) == ("b", 1, 4, 3.0)
    assert (last["steps"], last["prior"], last["run"]) == (20, "gmm", "001")
    assert table["step"].isna().all()
    assert set(table["seconds"]) == {60.0}


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"features": OTHER}, r"feature extractor .*3e318618 \(1 runs\) and .*5568814b"),
        ({"features": None}, "feature extractor"),
        ({"reference": "8 test examples"}, "reference"),
        ({"samples": 21}, "samples"),
    ],
    ids=["evaluator", "unnamed", "reference", "samples"],
)
def test_several_in_one_table_are_refused_in_one_line(
    tmp_path: Path, changes: dict[str, Any], what: str
) -> None:
    path = keep(tmp_path, evaluated("a"), evaluated("b", **changes))
    with pytest.raises(MixedEvaluations, match=f"results.csv: expected one {what}") as refused:
        read_table(path)
    assert "\n" not in str(refused.value)


def test_another_validation_reference_alone_is_refused(tmp_path: Path) -> None:
    other = evaluated("b")
    for row in other[2]:
        if row["split"] == "validation":
            row["reference"] = "7 validation examples"
    with pytest.raises(MixedEvaluations, match="validation split"):
        read_table(keep(tmp_path, evaluated("a"), other))


def test_runs_that_need_no_evaluator_agree_with_any(tmp_path: Path) -> None:
    free = run("free", rows("free", "w2_squared", nfe4=1.0))
    table = read_table(keep(tmp_path, free, evaluated("a")))
    assert set(table["flow"]) == {"free", "a", REAL_DATA}


def test_runs_on_other_data_may_have_another_reference(tmp_path: Path) -> None:
    ours, other = evaluated("a"), evaluated("b", reference="8 test examples")
    ours[0]["data"], other[0]["data"] = "few:count=1", "few:count=2"
    assert len(read_table(keep(tmp_path, ours, other))) == 12


def test_what_is_no_study_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no study; give the OUT folder"):
        read_table(tmp_path / "nothere")


def test_the_folder_of_a_finished_study_is_read_whole(finished: Path) -> None:
    table = read_table(finished)
    assert len(read_table(finished / "results.csv")) == len(table)
    report = json.loads((finished / "report.json").read_text())
    assert len(table) == sum(len(result["rows"]) for result in results(finished))
    row = next(row for row in report["quality"] if row["metric"] == "accuracy")
    trained = table[(table["flow"] == row["variant"]) & table["step"].isna() & (table["split"] == "test")]
    own = trained[(trained["metric"] == row["metric"]) & (trained["nfe"] == row["nfe"])]
    assert own["value"].mean() == pytest.approx(row["mean"], rel=1e-12)


def table_of(*labels: str) -> list[dict[str, object]]:
    runs = [run(label, rows(label, nfe0=1 / 3, nfe15=2.0, nfe4=1e-9)) for label in labels]
    return [row for number, own in enumerate(runs) for row in rows_of_run(f"run {number}", *own)]


@pytest.mark.parametrize("name", ["results.csv", "results.csv.gz"])
def test_the_same_rows_give_the_same_bytes(tmp_path: Path, name: str) -> None:
    ordered = table_of("a", "b")
    shuffled = random.Random(0).sample(ordered, len(ordered))
    for folder, own in (("first", ordered), ("second", shuffled)):
        write_results(tmp_path / folder / name, own)
    first, second = ((tmp_path / folder / name).read_bytes() for folder in ("first", "second"))
    assert first == second
    write_results(tmp_path / "third" / name, read_rows(tmp_path / "first" / name))
    assert (tmp_path / "third" / name).read_bytes() == first
    assert [row["nfe"] for row in read_rows(tmp_path / "first" / name)] == ["0", "4", "15"] * 2


def test_numbers_have_seven_significant_digits(tmp_path: Path) -> None:
    write_results(tmp_path / "results.csv", table_of("a"))
    assert list(read_table(tmp_path / "results.csv")["value"]) == [0.3333333, 1e-9, 2.0]


@pytest.mark.parametrize(
    ("commit", "kept", "dirty", "legacy"),
    [(COMMIT, COMMIT, False, False), (f"{COMMIT}-dirty", COMMIT, True, True), (None, None, False, True)],
)
def test_a_run_of_no_clean_commit_is_legacy(
    commit: str | None, kept: str | None, dirty: bool, legacy: bool
) -> None:
    found = facts_of({"commit": commit, "starts_gap": {"coefficient": 0.5, "p_value": 0.1}})
    assert (found["commit"], found["dirty"], found["legacy"]) == (kept, dirty, legacy)
    assert found["source_mismatch"] == 0.5


def test_a_row_without_a_seed_has_that_of_its_run() -> None:
    setting, facts, own = run("a", rows("a", nfe4=1.0), seed=7)
    (row,) = rows_of_run("run", setting, facts, [own[0] | {"seed": None}])
    assert row["seed"] == 7


@pytest.mark.parametrize("content", [b"", b"no table", b"run,metric\n1,2\n", gzip.compress(b"x", mtime=0)])
def test_a_file_that_is_no_table_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    for name in ("results.csv", "results.csv.gz"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError) as refused:
            read_table(tmp_path / name)
        assert "\n" not in str(refused.value)
