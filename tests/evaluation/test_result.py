"""The long table: values are found by their columns, several are not one, JSON comes back as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flowprior.errors import InputError
from flowprior.evaluation.result import COLUMNS, REAL_DATA, MetricInfo, Result, table_row

FID = MetricInfo("distance", 100, "200 test examples of x", "lower", features="cnn128 sha256 1")
SHARE = MetricInfo("share", 100, "200 test examples of x", "higher")
CURVATURE = MetricInfo("curvature", 20)
METRICS = {"fid-cnn128": FID, "accuracy": SHARE, "curvature": CURVATURE}
SETTINGS = {
    "prior": "gmm:components=[2]",
    "coupling": "ot",
    "data": "x",
    "samplers": ["euler"],
    "guidances": [1.0],
    "seeds": [0],
    "samples": 100,
    "reference": "200 test examples of x",
}


def rows_of(sampler: str = "euler", seed: int = 0, shift: float = 0.0) -> list[dict[str, Any]]:
    """A flow's values at 1 and 4 evaluations, and its curvature."""
    terms = {"flow": "gmm + ot", "seed": seed, "guidance": 1.0, "split": "test"}
    found = []
    for nfe, fid, accuracy in ((1, 20.5, 0.75), (4, 10.25, 0.875)):
        at = terms | {"sampler": sampler, "grid": "uniform", "nfe": nfe}
        found += [
            table_row("fid-cnn128", fid + shift, FID, **at),
            table_row("accuracy", accuracy, SHARE, **at),
            table_row("seconds", 0.1 * nfe, None, **at),
        ]
    return [*found, table_row("curvature", 3.0, CURVATURE, **terms)]


def real_rows(seed: int = 0) -> list[dict[str, Any]]:
    """The real-data score of the distance."""
    return [table_row("fid-cnn128", 1.125 + seed, FID, flow=REAL_DATA, seed=seed, split="test")]


RESULT = Result([*rows_of(), *real_rows()], METRICS, SETTINGS, ["nfe=3 left out: a step takes 2"])


def test_every_row_has_every_column() -> None:
    assert all(tuple(row) == COLUMNS for row in RESULT.rows)
    first = RESULT.rows[0]
    assert (first["samples"], first["reference"], first["features"]) == (100, FID.reference, FID.features)
    assert RESULT.rows[1]["features"] is None


def test_values_are_found_by_metric_and_nfe() -> None:
    assert RESULT.value("fid", 4) == RESULT.value("fid-cnn128", 4) == 10.25
    assert RESULT.value("accuracy", 1) == 0.75
    assert RESULT.value("curvature") == 3.0
    assert list(RESULT.quality_metrics) == ["fid-cnn128", "accuracy"]


@pytest.mark.parametrize(
    ("metric", "nfe", "at", "message"),
    [
        ("fid", 2, {}, "no fid at nfe=2; it has fid-cnn128, accuracy, curvature at nfe 1, 4"),
        ("kid", 1, {}, "no kid"),
        ("fid", 4, {"seed": 5}, "no fid at nfe=4, seed=5; it has"),
    ],
)
def test_a_value_that_is_not_there_is_refused(
    metric: str, nfe: int, at: dict[str, int], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        RESULT.value(metric, nfe, **at)


def test_several_values_are_not_one() -> None:
    several = Result([*rows_of(), *rows_of("heun", 1, 2.0)], METRICS)
    with pytest.raises(InputError, match="say which of seed=0 or 1, sampler='euler' or 'heun'"):
        several.value("fid", 4)
    assert several.value("fid", 4, sampler="heun") == several.value("fid", 4, seed=1) == 12.25
    assert several.value("accuracy", 4) == 0.875  # the same of both


def test_rows_are_selected_by_any_column() -> None:
    assert [row["value"] for row in RESULT.select(metric="accuracy", nfe=(1, 4))] == [0.75, 0.875]
    assert RESULT.select(sampler="heun") == []
    with pytest.raises(InputError, match="no column 'solver'; the columns are flow, seed"):
        RESULT.select(solver="heun")


def test_the_real_data_score_is_the_mean_over_seeds() -> None:
    found = Result([*RESULT.rows, *real_rows(1)], METRICS)
    assert found.real_data_score("fid-cnn128") == found.real_data_score("fid") == 1.625
    assert found.real_data_score("fid-cnn128", "validation") is None
    assert found.real_data_score("accuracy") is None
    assert found.value("fid", flow=REAL_DATA, seed=1) == 2.125


def test_the_frame_has_a_row_a_value() -> None:
    pytest.importorskip("pandas")
    frame = RESULT.to_pandas()
    assert len(frame) == len(RESULT.rows)
    assert list(frame.columns) == list(COLUMNS)
    assert frame.query("metric == 'accuracy' and nfe == 4").value.item() == 0.875


def test_json_holds_everything(tmp_path: Path) -> None:
    file = tmp_path / "new" / "e.json"
    RESULT.save(file)
    read = json.loads(file.read_text())
    assert read == RESULT.as_dict()
    assert Result.from_dict(read) == RESULT


def test_a_prompt_shows_the_best_value_of_each_metric_and_what_was_left_out() -> None:
    assert repr(RESULT).splitlines() == [
        "Result of gmm + ot, NFE 1, 4: 8 values",
        "  fid-cnn128 10.25 at NFE 4, euler (lower is better)",
        "  accuracy 0.875 at NFE 4, euler (higher is better)",
        "  nfe=3 left out: a step takes 2",
    ]


def test_a_notebook_shows_means_over_seeds_by_nfe_and_escapes_names() -> None:
    two = Result([*rows_of(sampler="<b>"), *rows_of(sampler="<b>", seed=1, shift=2.0)], METRICS, SETTINGS)
    by_nfe, of_flow = two.tables()
    assert list(by_nfe.columns) == ["sampler", "guidance", "NFE", "fid-cnn128", "accuracy"]
    assert [list(row) for row in by_nfe.rows] == [
        ["<b>", 1.0, 1, 21.5, 0.75],
        ["<b>", 1.0, 4, 11.25, 0.875],
    ]
    assert of_flow.rows[0] == ["curvature", 3.0]
    assert "&lt;b&gt;" in two._repr_html_()
    assert "<b>" not in two._repr_html_()


def test_an_empty_result_says_so() -> None:
    assert repr(Result([])) == "Result of nothing: 0 values"
    assert "<table>" in Result([])._repr_html_()
