"""The plan of a grid: keys of its runs, and what the library refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from flowprior.couplings.ot import OTCoupling
from flowprior.data import TensorData
from flowprior.errors import OptionError
from flowprior.study import Grid, Splits
from flowprior.study.runs import Variant, plan_grid
from tests.study.conftest import TINY, tiny_grid

IDENTITY = {"train": [1]}
DROPPING = {**TINY["training"], "condition_dropout": 0.1}
SINGLE: dict[str, Any] = {"priors": ["gaussian"], "couplings": ["condot"], "training": DROPPING}
"""One variant, whose plan is made in a quarter of the time."""


def key(grid: Grid, run: int = 0, identity: dict[str, Any] | None = None) -> tuple[str, str]:
    """The folder's name and the key of a run of the first variant."""
    identity = {name: [1] for name in grid.references} | (identity or IDENTITY)
    found = plan_grid(grid, identity).variants[0].runs[run]
    return found.name, found.key


@pytest.mark.parametrize(
    ("change", "training", "values"),
    [
        ({"priors": ["gmm"]}, True, True),
        ({"paths": ["cosine"]}, True, True),
        ({"model": "mlp:width=32"}, True, True),
        ({"training": {**DROPPING, "lr": 0.01}}, True, True),
        ({"curve": {"points": 4}}, True, True),
        ({"trainer": "tests.study.hooked:trainer"}, True, True),
        ({"nfe": [1, 3]}, False, True),
        ({"samplers": ["euler", "heun"]}, False, True),
        ({"guidance": 2.0}, False, True),
        ({"curve": {**TINY["curve"], "samples": 51}}, False, True),
        ({"evaluation": {"batch_size": 20}}, False, True),
        ({"values": "tests.study.hooked:values"}, False, True),
        ({"references": {"same": "digits"}}, False, True),
        ({"priors": ["start=gaussian"]}, False, False),
        ({"samplers": ["solver=euler"]}, False, False),
        ({"baseline": "gaussian + condot", "metric": "accuracy", "seeds": 5}, False, False),
        ({"training": {**DROPPING, "log_every": 1, "device": "auto"}}, False, False),
    ],
)
def test_what_changes_the_training_changes_the_folder_and_what_changes_a_value_the_key(
    change, training, values
):
    before, after = key(tiny_grid(**SINGLE)), key(tiny_grid(**SINGLE | change))
    assert (before[0] != after[0], before[1] != after[1]) == (training, values)


def test_seed_and_data_are_part_of_the_key():
    grid = tiny_grid(**SINGLE, seeds=4)
    assert len({key(grid, run)[0] for run in range(4)}) == 4
    assert key(grid)[0] != key(grid, identity={"train": [2]})[0]


def test_a_changed_function_is_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The digest of its file belongs to the keys; it is not imported."""
    monkeypatch.chdir(tmp_path)
    grids = tiny_grid(**SINGLE, trainer="own_hooks:train"), tiny_grid(**SINGLE, values="own_hooks:values")
    module = tmp_path / "own_hooks.py"
    found = []
    for text in ("raise ValueError(1)", "raise ValueError(2)"):
        module.write_text(text)
        found.append([key(grid) for grid in grids])
    (trainer, values), (changed_trainer, changed_values) = found
    assert trainer[0] != changed_trainer[0]
    assert (values[0], values[1] != changed_values[1]) == (changed_values[0], True)


def test_data_are_known_by_their_content():
    x, labels = torch.randn(30, 2), torch.arange(30) % 3
    one, same = TensorData(x, labels), TensorData(x.clone(), labels.clone())
    assert Splits(one, one).identity() == Splits(same, one).identity()
    other = x.clone()
    other[17, 1] += 1e-3
    for train in (TensorData(other, labels), TensorData(x, labels.flip(0))):
        assert Splits(train, one).identity() != Splits(one, one).identity()
    assert Splits(one, one, one).identity() != Splits(one, one).identity()


def planned(grid: Grid | None = None, **changes: Any) -> dict[str, Variant]:
    plan = plan_grid(grid or tiny_grid(**changes), IDENTITY)
    return {variant.label: variant for variant in plan.variants}


def reasons(grid: Grid | None = None, **changes: Any) -> dict[str, str]:
    return {label: variant.skipped or "" for label, variant in planned(grid, **changes).items()}


def test_what_the_library_refuses_is_skipped_with_its_reason():
    found = planned(priors=["gaussian", "gmm"], couplings=["condot", "posterior"], paths=["condot", "vp"])
    assert "no latent variables" in (found["gaussian + posterior + condot"].skipped or "")
    assert "only valid for a standard normal" in (found["gmm + condot + vp"].skipped or "")
    assert found["gaussian + condot + vp"].skipped is None
    assert all(len(variant.runs) == (0 if variant.skipped else 2) for variant in found.values())


def test_a_coupling_that_does_not_fit_the_batch_is_refused(monkeypatch):
    monkeypatch.setattr(OTCoupling, "draw_size", lambda self, batch_size: 40)
    found = reasons()
    assert "draws 40 pairs at once, no multiple of batch_size=32" in found["gaussian + ot"]
    assert found["gaussian + condot"] == ""


def test_a_sampler_that_a_variant_refuses_is_left_out_of_that_one():
    found = planned(paths=["condot", "vp"], samplers=["euler", "ancestral"])
    straight, diffusion = found["gaussian + condot + condot"], found["gaussian + condot + vp"]
    assert "path 'condot'" in straight.refused_samplers["ancestral"]
    assert (straight.skipped, straight.specs) == (None, ["euler"])
    assert diffusion.refused_samplers == {}


def test_a_prediction_that_a_variant_cannot_be_trained_on_is_refused():
    residual = {**TINY["training"], "prediction": "residual"}
    found = reasons(priors=["gaussian", "latent-gmm"], couplings=["condot", "ot"], training=residual)
    assert found["latent-gmm + condot"] == ""
    assert "needs the Gaussian law of the pairs" in found["latent-gmm + ot"]
    assert "needs the Gaussian law of the pairs" in found["gaussian + condot"]
    epsilon = {**TINY["training"], "prediction": "epsilon"}
    found = reasons(priors=["gaussian"], couplings=["condot"], paths=["condot", "vp"], training=epsilon)
    assert "keeps none" in found["gaussian + condot + condot"]
    assert found["gaussian + condot + vp"] == ""


def test_the_prior_alone_is_nothing_that_a_sampler_has_to_spend():
    found = planned(samplers=["heun"], nfe=[0, 2], curve={"nfe": [2]})
    assert found["gaussian + condot"].refused_samplers == {}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"priors": ["gaussian"], "couplings": ["posterior"]}, "no combination of the grid .*latent"),
        ({"samplers": ["heun"], "nfe": [0, 1]}, r"no combination of the grid is possible.*nfe=1"),
        ({"samplers": ["heun"], "nfe": [2], "curve": {"nfe": [3]}}, r"curve.nfe=\[3\] is not .*nfe=3"),
        ({"baseline": "gmm + ot"}, r"no variant 'gmm \+ ot' .* gaussian \+ condot"),
    ],
)
def test_nothing_to_run_or_to_compare_with_is_a_mistake(change, words):
    with pytest.raises(OptionError, match=words):
        planned(**change)


def test_a_run_is_described_by_what_it_trains():
    grid = tiny_grid()
    run = next(run for run in plan_grid(grid, IDENTITY).runs() if run.title == "low-rank + ot, seed 1")
    assert run.place[0].startswith("gmm+ot+condot-seed1-")
    assert run.config.prior == grid.variants["low-rank + ot"].prior
    assert run.curve == [4, 8, 12]
    own = {"seed": 0, "checkpoint_every": 500, "keep_checkpoints": 2, "prediction": "auto", "time": "auto"}
    assert replace(run.config.training, **own) == grid.training
    assert not {"auto"} & {value for name, value in run.setting.items() if name != "model"}
