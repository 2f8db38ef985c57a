"""Runs beside the library's own way: functions of the grid, a validation split, further references."""

from __future__ import annotations

from typing import Any

import pytest

from flowprior.data import load_data
from flowprior.errors import InputError, OptionError
from flowprior.evaluation import evaluate
from flowprior.flow import Flow
from flowprior.report import write_report
from flowprior.study import Splits, run_grid
from tests.study import hooked
from tests.study.conftest import ONE, TINY, results, tiny_grid

HERE = "tests.study.hooked"
OTHER_DIGITS = "digits:seed=3"
"""The same digits, split otherwise."""


@pytest.fixture(autouse=True)
def nothing_trained() -> None:
    hooked.trained.clear()


@pytest.mark.usefixtures("no_page")
def test_a_trainer_trains_in_the_librarys_place_and_its_flow_is_kept(tmp_path):
    grid: dict[str, Any] = ONE | {"seeds": 2, "trainer": f"{HERE}:trainer"}
    assert run_grid(tiny_grid(**grid), tmp_path).finished == 2
    assert hooked.trained == ["gaussian 0 1438", "gaussian 1 1438"]
    assert run_grid(tiny_grid(**grid | {"nfe": [1]}), tmp_path).finished == 2
    assert len(hooked.trained) == 2  # other counts evaluate the same flows
    assert all(result["setting"]["trainer"] == f"{HERE}:trainer" for result in results(tmp_path))
    assert all(result["facts"]["seconds"] > 0 for result in results(tmp_path))
    assert len(results(tmp_path)) == 4  # those of the other counts are kept
    report = write_report(tmp_path)
    assert (report["waiting"], {row["nfe"] for row in report["quality"]}) == ([], {1})


def test_the_checkpoints_of_a_trainer_are_the_points_of_its_curve(tmp_path):
    """The same training by the library has the same curve; a trainer that keeps nothing has its end alone."""
    curves = {}
    for name in ("", "trainer", "secretive_trainer"):
        out = tmp_path / (name or "library")
        own = {"curve": {"points": 2, "nfe": [2], "samples": 50}, "trainer": name and f"{HERE}:{name}"}
        assert run_grid(tiny_grid(**ONE | own), out).failed == {}
        (result,) = results(out)
        rows = [row for row in result["rows"] if row["metric"].startswith("fid") and row["step"] is not None]
        curves[name] = {row["step"]: row["value"] for row in rows}
        assert (result["facts"]["seconds_per_step"] is not None) == (name != "secretive_trainer")
    steps = TINY["training"]["steps"]
    assert list(curves[""]) == [steps // 2, steps]
    assert curves["trainer"] == pytest.approx(curves[""])
    assert curves["secretive_trainer"] == pytest.approx({steps: curves[""][steps]})


def test_further_splits_and_values_are_rows_of_the_run_and_of_the_report(tmp_path):
    """Each split on samples for its own conditions, as ``evaluate`` does of the same flow."""
    metrics = ["fid", "accuracy"]
    evaluation = {"metrics": metrics, "classifier": "auto"}
    own = ONE | {"evaluation": evaluation, "validation": 200, "references": {"more": OTHER_DIGITS}}
    run_grid(tiny_grid(**own, splits=["validation", "test"], values=f"{HERE}:values"), tmp_path)
    (result,) = results(tmp_path)
    (path,) = tmp_path.glob("cells/*/run/flow")
    parts = Splits.load("digits", 200)
    assert parts.validation is not None
    assert len(parts.train) + len(parts.validation) == len(load_data("digits", "train"))
    terms: dict[str, Any] = {"nfe": [2], "samples": 100, "metrics": metrics, "split": "more"}
    rows = [row for row in result["rows"] if row["nfe"] == 2]
    found = {
        split: {row["metric"]: row["value"] for row in rows if row["split"] == split and row["reference"]}
        for split in ("test", "validation", "more")
    }
    again = evaluate(Flow.load(path), parts.train, reference=load_data(OTHER_DIGITS, "test"), **terms)
    assert found["more"] == pytest.approx({name: again.value(name, 2) for name in found["more"]})
    assert len({values["fid-cnn128"] for values in found.values()}) == 3
    report = write_report(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert {row["split"] for row in report["quality"]} == {"validation", None}  # the first that is named
    for split, heading in (("more", "fid-cnn128, more"), ("test", "fid-cnn128")):
        assert {row["metric"] for row in report["splits"][split]} >= {"fid-cnn128", "accuracy"}
        assert f"<h3>{heading} " in page
    assert OTHER_DIGITS in page
    kept = [row for row in result["rows"] if row["metric"] == "events"]
    assert {(row["flow"], row["seed"]) for row in kept} == {("gaussian + condot", 0)}
    told = [row for row in report["quality"] if row["metric"] == "events"]
    assert [(row["nfe"], row["by_seed"]) for row in told] == [(0, {"0": 359.0}), (2, {"0": 359.0})]
    assert report["metrics"]["events"]["description"] == "test events"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": "tests.study.gone:f"}, "cannot be loaded"),
        ({"values": f"{HERE}:gone"}, "cannot be loaded"),
        ({"references": {"points": "eight-modes"}}, r"compare: .*'eight-modes' has events \[2\]"),
        ({"validation": 1438}, "'digits' has 1438 data samples"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_trained(tmp_path, change, message):
    with pytest.raises((InputError, OptionError), match=message):
        run_grid(tiny_grid(**ONE, **change), tmp_path / "out")
    assert not list(tmp_path.iterdir())
