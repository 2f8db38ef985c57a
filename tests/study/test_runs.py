"""The key of a run, and the combinations of a grid."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from flowprior.couplings.ot import OTCoupling
from flowprior.data import TensorData
from flowprior.errors import OptionError
from flowprior.study import Grid, Splits
from flowprior.study.grid import grid_from_dict
from flowprior.study.runs import make_run, plan_grid, variants
from tests.study.conftest import TINY, tiny_grid

IDENTITY = {"train": [1]}


def key(grid: Grid, seed: int = 0, identity: dict[str, Any] | None = None) -> tuple[str, str]:
    variant = variants(grid)[0]
    cell = make_run(grid, variant, seed, variant.samplers, identity or IDENTITY)
    return cell.name, cell.key


@pytest.mark.parametrize(
    "change",
    [
        {"priors": ["gmm"]},
        {"couplings": ["ot"]},
        {"paths": ["cosine"]},
        {"model": "mlp:width=32"},
        {"training": {**TINY["training"], "steps": 13}},
        {"training": {**TINY["training"], "lr": 0.01}},
        {"training": {**TINY["training"], "batch_size": 16}},
        {"curve": {"points": 4}},
        {"trainer": "tests.study.hooked:trainer"},
    ],
)
def test_what_changes_the_training_changes_name_and_key(change):
    before, after = key(tiny_grid()), key(tiny_grid(**change))
    assert before[0] != after[0]
    assert before[1] != after[1]


@pytest.mark.parametrize(
    "change",
    [
        {"nfe": [1, 3]},
        {"samples": 101},
        {"samplers": ["heun"]},
        {"samplers": ["euler", "heun"]},
        {"guidance": 2.0},
        {"curve": {**TINY["curve"], "samples": 51}},
        {"evaluation": {"batch_size": 20}},
        {"conditions": "balanced"},
        {"values": "tests.study.hooked:values"},
    ],
)
def test_what_changes_only_the_evaluation_keeps_the_training(change):
    training = {**TINY["training"], "condition_dropout": 0.1}
    before, after = key(tiny_grid(training=training)), key(tiny_grid(training=training, **change))
    assert before[0] == after[0]
    assert before[1] != after[1]


@pytest.mark.parametrize(
    "change",
    [
        {"priors": ["start=gaussian"]},
        {"samplers": ["solver=euler"]},
        {"baseline": "gaussian + ot"},
        {"metric": "accuracy"},
        {"seeds": 5},
        {"training": {**TINY["training"], "log_every": 1, "device": "auto"}},
    ],
)
def test_what_changes_no_value_changes_nothing(change):
    assert key(tiny_grid()) == key(tiny_grid(**change))


def test_seed_and_data_are_part_of_the_key():
    assert len({key(tiny_grid(), seed)[0] for seed in range(4)}) == 4
    assert key(tiny_grid())[0] != key(tiny_grid(), identity={"train": [2]})[0]


def test_data_are_known_by_their_content():
    x, labels = torch.randn(30, 2), torch.arange(30) % 3
    one = TensorData(x, labels)
    same = TensorData(x.clone(), labels.clone())
    assert Splits(one, one).identity() == Splits(same, one).identity()
    other = x.clone()
    other[17, 1] += 1e-3
    assert Splits(TensorData(other, labels), one).identity() != Splits(one, one).identity()
    assert Splits(TensorData(x, labels.flip(0)), one).identity() != Splits(one, one).identity()
    assert Splits(one, one, one).identity() != Splits(one, one).identity()


def test_paths_are_named_where_there_are_several():
    assert [variant.label for variant in variants(tiny_grid(priors=["gmm"]))] == ["gmm + condot", "gmm + ot"]
    several = variants(tiny_grid(priors=["gmm"], couplings=["ot"], paths=["condot", "cosine"]))
    assert [variant.label for variant in several] == ["gmm + ot + condot", "gmm + ot + cosine"]


def planned(**changes: Any) -> dict[str, Any]:
    grid = tiny_grid(**changes)
    plan, _ = plan_grid(grid, Splits.load("digits"))
    return {variant["label"]: variant for variant in plan["variants"]}


def test_what_the_library_refuses_is_skipped_with_its_reason():
    found = planned(
        priors=["gaussian", "gmm"],
        couplings=["condot", "posterior"],
        paths=["condot", "vp"],
    )
    reasons = {label: variant["skipped"] for label, variant in found.items()}
    assert "no latent variables" in reasons["gaussian + posterior + condot"]
    assert "only valid for a standard normal" in reasons["gmm + condot + vp"]
    assert reasons["gaussian + condot + vp"] is None
    for label, variant in found.items():
        assert len(variant["cells"]) == (0 if reasons[label] else 2)


def test_a_coupling_that_does_not_fit_the_batch_is_refused(monkeypatch):
    monkeypatch.setattr(OTCoupling, "draw_size", lambda self, batch_size: 40)
    found = planned()
    assert "draws 40 pairs at once, no multiple of batch_size=32" in found["gaussian + ot"]["skipped"]
    assert found["gaussian + condot"]["skipped"] is None


def test_a_sampler_that_a_variant_refuses_is_left_out_of_that_one():
    found = planned(paths=["condot", "vp"], samplers=["euler", "ancestral"])
    straight, diffusion = found["gaussian + condot + condot"], found["gaussian + condot + vp"]
    assert "path 'condot'" in straight["refused_samplers"]["ancestral"]
    assert straight["skipped"] is None
    assert diffusion["refused_samplers"] == {}


def test_a_prediction_that_a_variant_cannot_be_trained_on_is_refused():
    training = {**TINY["training"], "prediction": "residual"}
    found = planned(priors=["gaussian", "latent-gmm"], couplings=["condot", "ot"], training=training)
    reasons = {label: variant["skipped"] for label, variant in found.items()}
    assert reasons["latent-gmm + condot"] is None
    assert "needs the Gaussian law of the pairs" in reasons["latent-gmm + ot"]
    assert "needs the Gaussian law of the pairs" in reasons["gaussian + condot"]
    epsilon = {**TINY["training"], "prediction": "epsilon"}
    found = planned(priors=["gaussian"], couplings=["condot"], paths=["condot", "vp"], training=epsilon)
    assert "keeps none" in found["gaussian + condot + condot"]["skipped"]
    assert found["gaussian + condot + vp"]["prediction"] == "epsilon"


def test_times_that_a_variant_cannot_be_trained_with_are_refused():
    parts = {"prior": "latent-gmm", "coupling": "posterior"}
    predictions = {"plain": "velocity", "averages": "average-velocity"}
    named = {label: {**parts, "prediction": name} for label, name in predictions.items()}
    own = {name: TINY[name] for name in TINY if name not in ("priors", "couplings")}
    training = {**TINY["training"], "time": "interval"}
    plan, _ = plan_grid(
        grid_from_dict({**own, "variants": named, "training": training}), Splits.load("digits")
    )
    reasons = {variant["label"]: variant["skipped"] for variant in plan["variants"]}
    assert "prediction 'velocity' is not trained on" in reasons["plain"]
    assert reasons["averages"] is None


def test_the_prior_alone_is_nothing_that_a_sampler_has_to_spend():
    found = planned(samplers=["heun"], nfe=[0, 2], curve={"nfe": [2]})
    assert found["gaussian + condot"]["refused_samplers"] == {}
    with pytest.raises(OptionError, match=r"no combination of the grid is possible.*nfe=1"):
        planned(samplers=["heun"], nfe=[0, 1])


def test_nothing_to_run_is_a_mistake():
    with pytest.raises(OptionError, match=r"no combination of the grid is possible.*latent"):
        planned(priors=["gaussian"], couplings=["posterior"])
    with pytest.raises(OptionError, match=r"no combination of the grid is possible.*nfe=1"):
        planned(samplers=["heun"], nfe=[1])
    with pytest.raises(OptionError, match=r"curve.nfe=\[3\] is not possible.*nfe=3"):
        planned(samplers=["heun"], nfe=[2], curve={"nfe": [3]})


def test_a_cell_is_described_by_the_run_it_makes():
    grid = grid_from_dict(TINY)
    variant = variants(grid)[3]
    cell = make_run(grid, variant, 1, variant.samplers, IDENTITY)
    assert cell.title == "low-rank + ot, seed 1"
    assert cell.name.startswith("gmm+ot+condot-seed1-")
    assert cell.config.prior == grid.priors["low-rank"]
    assert cell.curve == (4, 8, 12)
    assert replace(cell.config.training, seed=0, checkpoint_every=500, keep_checkpoints=2) == grid.training
