"""The result: looking figures up, JSON, the table."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from flowprior.errors import CheckpointError, InputError
from flowprior.evaluation import Evaluation, MetricInfo

RESULT = Evaluation(
    rows=[
        {"nfe": 1, "fid-cnn128": 20.5, "accuracy": 0.75, "seconds": 0.1},
        {"nfe": 4, "fid-cnn128": 10.25, "accuracy": 0.875, "seconds": 0.4},
    ],
    metrics={
        "fid-cnn128": MetricInfo("distance", 100, "200 test examples of x", "lower", real_data_score=1.125),
        "accuracy": MetricInfo("share", 100, "200 test examples of x", "higher"),
    },
    transport={"paired": 3.5, "unpaired": 7.0, "pairs": 100},
    settings={
        "prior": "gmm:components=[2]",
        "coupling": "ot",
        "data": "x",
        "sampler": "euler",
        "samples": 100,
        "reference": "200 test examples of x",
        "guidance": 1.0,
        "seed": 0,
    },
    notes=["nfe=3 left out: a step takes 2"],
)


def shown(result: Evaluation) -> str:
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(result.table())
    return console.export_text()


def test_figures_are_found_by_metric_and_nfe() -> None:
    assert RESULT.value("fid", 4) == RESULT.value("fid-cnn128", 4) == 10.25
    assert RESULT.value("accuracy", 1) == 0.75
    with pytest.raises(InputError, match="no fid at nfe=2; it has fid-cnn128, accuracy at nfe 1, 4"):
        RESULT.value("fid", 2)
    with pytest.raises(InputError, match="no kid"):
        RESULT.value("kid", 1)


def test_json_holds_everything(tmp_path: Path) -> None:
    file = tmp_path / "new" / "e.json"
    RESULT.save(file)
    read = json.loads(file.read_text())
    assert read == RESULT.as_dict()
    assert (
        Evaluation(**{**read, "metrics": {k: MetricInfo(**m) for k, m in read["metrics"].items()}}) == RESULT
    )


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot write"):
        RESULT.save(tmp_path)


def test_the_table_shows_rows_floor_and_terms() -> None:
    text = shown(RESULT)
    for part in ("fid-cnn128 ↓", "accuracy ↑", "20.5", "10.25", "0.875", "1.125", "real"):
        assert part in text
    for part in ("100 samples against 200 test examples of x", "3.5 coupled, 7 unpaired", "nfe=3 left out"):
        assert part in text


def test_names_in_brackets_are_not_taken_for_markup() -> None:
    assert "gmm:components=[2] + ot on x, euler" in shown(RESULT)


def test_without_floors_there_is_no_real_row() -> None:
    metrics = {name: replace(metric, real_data_score=None) for name, metric in RESULT.metrics.items()}
    assert "real" not in shown(replace(RESULT, metrics=metrics))
