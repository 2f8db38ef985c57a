"""Names in a grid beside the library's own way: variants, functions, a validation split, conditions."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from flowprior.data import load_data
from flowprior.errors import FlowpriorError, InputError, OptionError
from flowprior.evaluation import evaluate
from flowprior.evaluation.result import COLUMNS
from flowprior.flow import Flow
from flowprior.report import write_report
from flowprior.study import Splits, run_grid
from flowprior.study.grid import dump_grid, grid_from_dict
from flowprior.study.runs import plan_grid, variants
from tests.study import hooked
from tests.study.conftest import QUALITY, TINY, tiny_grid

HERE = "tests.study.hooked"
SMALL: dict[str, Any] = {
    "priors": ["gaussian"],
    "couplings": ["condot"],
    "seeds": 2,
    "curve": {"points": 0},
    "evaluation": QUALITY,
}


OTHER_DIGITS = "digits:seed=3"
"""The same digits, split otherwise."""


@pytest.fixture(autouse=True)
def nothing_trained() -> None:
    hooked.trained.clear()


def results(out: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(out.glob("cells/*/result-*.json"))]


@pytest.mark.usefixtures("no_page")
def test_a_trainer_trains_in_the_librarys_place_and_its_flow_is_kept(tmp_path):
    grid = tiny_grid(**SMALL, trainer=f"{HERE}:trainer")
    assert run_grid(grid, tmp_path).finished == 2
    assert hooked.trained == ["gaussian 0 1438", "gaussian 1 1438"]
    assert run_grid(tiny_grid(**SMALL | {"nfe": [1]}, trainer=f"{HERE}:trainer"), tmp_path).finished == 2
    assert len(hooked.trained) == 2  # other counts evaluate the same flows
    assert all(result["setting"]["trainer"] == f"{HERE}:trainer" for result in results(tmp_path))
    assert all(result["run"]["seconds"] > 0 for result in results(tmp_path))
    assert write_report(tmp_path)["waiting"] == []


def test_the_checkpoints_of_a_trainer_are_the_points_of_its_curve(tmp_path):
    """The same training by the library has the same curve; a trainer that keeps nothing has its end alone."""
    settings = SMALL | {"seeds": 1, "curve": {"points": 2, "nfe": [2], "samples": 50}}
    curves = {}
    for name in ("", "trainer", "secretive_trainer"):
        out = tmp_path / (name or "library")
        hook = {"trainer": f"{HERE}:{name}"} if name else {}
        assert run_grid(tiny_grid(**settings, **hook), out).failed == {}
        (result,) = results(out)
        rows = [row for row in result["rows"] if row["metric"].startswith("fid") and row["step"] is not None]
        curves[name] = {row["step"]: row["value"] for row in rows}
        assert (result["run"]["seconds_per_step"] is not None) == (name != "secretive_trainer")
    steps = TINY["training"]["steps"]
    assert list(curves[""]) == [steps // 2, steps]
    assert curves["trainer"] == pytest.approx(curves[""])
    assert curves["secretive_trainer"] == pytest.approx({steps: curves[""][steps]})


@pytest.mark.usefixtures("no_page")
def test_further_values_are_rows_of_the_cell_and_of_the_report(tmp_path):
    run_grid(tiny_grid(**SMALL, values=f"{HERE}:values"), tmp_path)
    report = write_report(tmp_path)
    rows = [row for row in report["quality"] if row["metric"] == "events"]
    assert [(row["nfe"], row["mean"], row["n"]) for row in rows] == [(0, 359.0, 2), (2, 359.0, 2)]
    assert all(row["by_seed"].keys() == {"0", "1"} for row in rows)
    kept = [row for result in results(tmp_path) for row in result["rows"] if row["metric"] == "events"]
    assert {(row["flow"], row["seed"]) for row in kept} == {
        ("gaussian + condot", 0),
        ("gaussian + condot", 1),
    }
    assert report["metrics"]["events"]["description"] == "test events"


def named_grid(variants: dict[str, Any], **changes: Any) -> Any:
    """The small grid with variants in place of its combinations."""
    shared = {key: value for key, value in TINY.items() if key not in ("priors", "couplings")}
    return grid_from_dict({**shared, **changes, "variants": variants})


def test_named_variants_stand_in_place_of_the_combinations():
    own = {"prior": "gaussian", "coupling": "ot", "sampler": "heun", "trainer": f"{HERE}:trainer"}
    grid = named_grid({"a peer": own, "ours": {}, "velocity": {"prediction": "velocity"}})
    peer, ours, velocity = variants(grid)
    assert (peer.label, peer.prior, peer.coupling, peer.path) == ("a peer", "gaussian", "ot", "condot")
    assert (peer.trainer, dict(peer.samplers)) == (f"{HERE}:trainer", {"heun": "heun"})
    assert (ours.prior, ours.coupling, ours.prediction) == ("latent-gmm", "posterior", "preconditioned")
    assert dict(ours.samplers) == {"auto": "euler:grid=last,at=0.7"}
    assert dict(velocity.samplers) == {"auto": "euler"}
    assert (velocity.prior, velocity.prediction) == ("latent-gmm", "velocity")
    again = grid_from_dict(tomllib.loads(dump_grid(grid)))
    assert again == grid


def test_a_validation_split_is_held_out_of_training_and_evaluated_like_the_test_split(tmp_path):
    run_grid(tiny_grid(**{**SMALL, "seeds": 1}, validation=200), tmp_path)
    (first, *_) = results(tmp_path)
    splits = {row["split"] for row in first["rows"] if row["nfe"] == 2}
    assert {"test", "validation"} <= splits
    report = write_report(tmp_path)
    assert {row["metric"] for row in report["validation"]} <= set(report["metrics"])
    assert len(report["validation"]) > 0
    assert "<h3>fid-cnn128, validation " in (tmp_path / "report.html").read_text()
    parts = Splits.load("digits", 200)
    assert parts.validation is not None
    assert len(parts.train) + len(parts.validation) == len(load_data("digits", "train"))


def test_further_references_get_samples_for_their_own_conditions(tmp_path):
    """Here other digits; ``evaluate`` gives the same values of the same flow."""
    metrics = ["fid", "accuracy"]
    small = {**SMALL, "seeds": 1, "evaluation": {"metrics": metrics, "classifier": "auto"}}
    run_grid(tiny_grid(**small, references={"more": OTHER_DIGITS}), tmp_path)
    (result,) = results(tmp_path)
    (path,) = tmp_path.glob("cells/*/run/flow")
    terms = {"nfe": [2], "samples": 100, "metrics": metrics, "split": "more"}
    others = load_data(OTHER_DIGITS, "test")
    again = evaluate(Flow.load(path), load_data("digits", "train"), reference=others, **terms)
    for split, rows in {"more": again.rows, "test": result["rows"]}.items():
        expected = {row["metric"]: row["value"] for row in rows if (row["split"], row["nfe"]) == (split, 2)}
        own = {
            row["metric"]: row["value"] for row in result["rows"] if (row["split"], row["nfe"]) == ("more", 2)
        }
        assert (own == pytest.approx(expected)) == (split == "more")
    report = write_report(tmp_path)
    assert {row["metric"] for row in report["references"]["more"]["quality"]} >= {"fid-cnn128", "accuracy"}
    page = (tmp_path / "report.html").read_text()
    assert all(text in page for text in ("<h3>fid-cnn128, more ", OTHER_DIGITS))


def test_a_reference_belongs_to_the_key_of_the_values_and_not_to_that_of_the_training():
    grids = (tiny_grid(), tiny_grid(references={"same": "digits"}))
    (own, *_), (more, *_) = (plan_grid(grid, Splits.of(grid.as_dict()))[1] for grid in grids)
    assert own.name == more.name
    assert own.key != more.key


def test_a_reference_of_other_events_is_refused_before_any_training(tmp_path):
    with pytest.raises(InputError, match=r"compare: .*'eight-modes' has events \[2\]"):
        run_grid(tiny_grid(references={"points": "eight-modes"}), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_cell_file_is_a_long_table_with_what_decided_the_training(finished):
    for result in results(finished):
        assert result["format"] == 3
        assert result["setting"]["prior"] in ("gaussian", "gmm:covariance=lowrank,rank=4,reg_covar=0.16")
        assert result["setting"]["steps"] == 12
        assert all(not isinstance(value, dict | list) for value in result["setting"].values())
        assert {tuple(row) for row in result["rows"]} == {COLUMNS}
        assert {row["metric"] for row in result["rows"]} == set(result["metrics"])
        assert {row["step"] for row in result["rows"]} == {None, 4, 8, 12}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"trainer": "nothing"}, ["trainer='nothing'", "package.module:function"]),
        ({"values": 3}, ["values=3"]),
        ({"conditions": "some"}, ["conditions='some'", "balanced"]),
        ({"validation": -1}, ["validation=-1", "0 or more"]),
        ({"references": {"test": "digits"}}, ["references.test='digits'", "another name"]),
        ({"references": {"more": 3}}, ["references.more=3", "spec of a data set"]),
        ({"references": "digits"}, ["references='digits'", "[references]"]),
        ({"variants": {"a": {"priors": "gmm"}}}, ["variants.a.priors", "prior, coupling"]),
        ({"variants": {"a": 3}}, ["[variants.LABEL]"]),
        ({"variants": {"real data": {}}}, ["real data have this name"]),
        ({"seeds": 10**30}, ["seeds=1000"]),
        ({"variants": {"a": {}}, "priors": ["gmm"]}, ["in place of", "leave out priors"]),
        ({"variants": {"a": {"prior": "gmn"}}}, ["unknown prior 'gmn'"]),
        ({"variants": {"a": {"prediction": "x"}}}, ["variants.a.prediction='x'"]),
    ],
)
def test_mistakes(change, words):
    with pytest.raises(FlowpriorError) as caught:
        named_grid(change.pop("variants", {}), **change)
    assert all(word in str(caught.value) for word in words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["tests.study.gone:f", "tests.study.hooked:gone"])
def test_a_function_that_is_not_there_is_refused_before_anything_is_trained(tmp_path, text):
    with pytest.raises(OptionError, match="cannot be loaded"):
        run_grid(tiny_grid(**SMALL, values=text), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_more_than_there_are_cannot_be_held_out():
    with pytest.raises(OptionError, match="'digits' has 1438 data samples"):
        Splits.load("digits", 1438)
