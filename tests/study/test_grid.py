"""Grids: labels, variants, files, overrides, the plan and keys of runs, and one line for each mistake."""

from __future__ import annotations

import inspect
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from flowprior.couplings.ot import OTCoupling
from flowprior.data import TensorData
from flowprior.errors import FlowpriorError, OptionError
from flowprior.evaluation import evaluate
from flowprior.study import Grid, Splits, load_grid
from flowprior.study.grid import EVALUATION, Curve, dump_grid, grid_from_dict, labelled
from flowprior.study.runs import Variant, plan_grid, variants
from tests.study.conftest import SHARED, TINY, named_grid, tiny_grid

GUIDED = {**TINY["training"], "condition_dropout": 0.1}
GRIDS = Path(__file__).parents[2] / "benchmarks" / "studies"


@pytest.mark.parametrize(
    ("axis", "given", "found"),
    [
        ("priors", ["gaussian", "gmm:components=2"], {"gaussian": "gaussian", "gmm": "gmm:components=2"}),
        ("couplings", ["condot", "batchot"], {"condot": "condot", "ot": "ot"}),
        ("priors", ["gmm", "gmm:components=2"], {"gmm": "gmm", "gmm:components=2": "gmm:components=2"}),
        ("priors", ["two=gmm:components=2,shrinkage=0.1"], {"two": "gmm:components=2,shrinkage=0.1"}),
        ("priors", {"a b": "gaussian"}, {"a b": "gaussian"}),
    ],
)
def test_labels_are_those_that_are_given_or_names_where_these_are_unambiguous(axis, given, found):
    assert labelled(axis, given) == found


def test_a_grid_has_the_combinations_of_its_axes_with_what_auto_stands_for():
    grid = grid_from_dict({"priors": ["gaussian", "latent-gmm"], "couplings": ["auto", "ot"]})
    assert {v.label: (v.coupling, v.prediction) for v in variants(grid)} == {
        "gaussian + auto": ("ot", "velocity"),
        "gaussian + ot": ("ot", "velocity"),
        "latent-gmm + auto": ("posterior", "preconditioned"),
        "latent-gmm + ot": ("ot", "velocity"),
    }
    several = tiny_grid(priors=["gmm"], couplings=["ot"], paths=["condot", "cosine"])
    assert list(several.variants) == ["gmm + ot + condot", "gmm + ot + cosine"]
    assert {label.partition(" ")[0] for label in grid_from_dict({}).variants} == {"gaussian", "latent-gmm"}


def test_named_variants_stand_in_place_of_the_combinations():
    own = {"prior": "gaussian", "coupling": "ot", "sampler": "heun", "trainer": "a:b"}
    grid = named_grid({"a peer": own, "ours": {}, "velocity": {"training": {"prediction": "velocity"}}})
    peer, ours, velocity = variants(grid)
    assert (peer.label, peer.prior, peer.coupling, peer.path) == ("a peer", "gaussian", "ot", "condot")
    assert (peer.trainer, peer.samplers) == ("a:b", {"heun": "heun"})
    assert (ours.prior, ours.coupling, ours.prediction) == ("latent-gmm", "posterior", "preconditioned")
    assert ours.samplers == {"auto": "euler:grid=last,at=0.7"}
    assert (velocity.prediction, velocity.samplers) == ("velocity", {"auto": "euler"})


def test_a_variant_has_keys_of_the_training_for_itself():
    own = {"prior": "gaussian", "training": {"lr": 0.5, "time": "logit-normal", "steps": 6}}
    plan = plan_grid(named_grid({"usual": {"prior": "gaussian"}, "own": own}), {"train": [8]})
    found = {run.variant.label: run for run in plan.runs()}
    usual, changed = found["usual"].config.training, found["own"].config.training
    assert (changed.lr, changed.time, changed.steps) == (0.5, "logit-normal", 6)
    assert replace(changed, lr=usual.lr, time=usual.time, steps=usual.steps, checkpoint_every=4) == usual
    assert found["own"].setting["lr"] == 0.5
    assert found["own"].curve == [2, 4, 6]


def test_a_grid_that_extends_another_one_keeps_the_variants_that_it_names(tmp_path):
    """In its own order, each with what the other one says of it, but for the keys of its own."""
    (tmp_path / "base.toml").write_text(
        'data = "moons"\nnfe = [1, 2]\n[training]\nsteps = 3\nlr = 0.5\n'
        '[variants.a]\nprior = "gaussian"\ncoupling = "ot"\n[variants.b]\nprior = "gmm"\n'
        '[variants.c]\nprior = "gaussian"\n'
    )
    path = tmp_path / "own.toml"
    path.write_text(
        'extends = "base.toml"\nnfe = [4]\n[training]\nlr = 0.25\n'
        '[variants]\nc = {}\na = {coupling = "condot"}\nd = {prior = "gmm"}\n'
    )
    grid = load_grid(path)
    assert (grid.data, grid.nfe, grid.training.steps, grid.training.lr) == ("moons", (4,), 3, 0.25)
    found = {label: (spec.prior, spec.coupling) for label, spec in grid.variants.items()}
    assert list(found) == ["c", "a", "d"]
    assert (found["c"][0], found["a"], found["d"][0]) == ("gaussian", ("gaussian", "condot"), "gmm")


@pytest.mark.parametrize("path", [None, *sorted(GRIDS.glob("*.toml"))], ids=lambda path: path and path.stem)
def test_a_grid_comes_back_from_toml(path):
    grid = tiny_grid(guidance=1.5, training=GUIDED, evaluation={"batch_size": 50})
    grid = load_grid(path) if path else grid
    assert grid_from_dict(tomllib.loads(dump_grid(grid))) == grid


def test_values_win_over_the_file_and_overrides_over_both(tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text('seeds = 2\nnfe = [3]\npriors = ["gmm"]\n[training]\nsteps = 7\nlr = 0.1\n')
    values = {"nfe": [1, 2], "priors": ["gaussian"], "couplings": ["ot"]}
    grid = load_grid(path, values, ["training.steps=9", "curve.points=0", "seeds=4"])
    assert (grid.nfe, list(grid.variants), grid.seeds) == ((1, 2), ["gaussian + ot"], (0, 1, 2, 3))
    assert (grid.training.steps, grid.training.lr, grid.curve.points) == (9, 0.1, 0)
    assert grid.training.sample_every == 0


@pytest.mark.parametrize("dropped", [{}, {"condition_dropout": 0.0}, {"condition_dropout": "auto"}])
def test_guidance_without_condition_dropout_is_refused_before_anything_is_trained(dropped):
    with pytest.raises(OptionError, match=r"guidance=1\.5 needs .*--set training\.condition_dropout=0\.1"):
        tiny_grid(guidance=1.5, training={**TINY["training"], **dropped})


def test_curve_points_are_even_and_end_at_the_budget():
    assert Curve(points=3).steps(100) == [33, 66, 100]
    assert Curve(points=6).steps(4) == [1, 2, 3, 4]
    assert Curve(points=0).steps(9) == []


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        (TINY | {"priors": ["gmn"]}, ["unknown prior 'gmn'", "did you mean 'gmm'?"]),
        (TINY | {"samplers": ["eular"]}, ["unknown sampler", "euler"]),
        (TINY | {"couplings": ["otto"]}, ["unknown coupling 'otto'", "did you mean 'ot'"]),
        (TINY | {"couplings": ["ot", "batchot"]}, ["couplings names 'ot' twice"]),
        (TINY | {"priors": ["a=gaussian", "a=gmm"]}, ["priors names 'a' twice"]),
        (TINY | {"priors": ["auto"]}, ["got 'auto'; run flowprior inspect"]),
        (TINY | {"priors": []}, ["priors=", "one or more"]),
        (TINY | {"priors": "gmm"}, ["priors='gmm'", "give a list"]),
        (TINY | {"priors": [3]}, ["priors=[3]"]),
        (TINY | {"seeds": 0}, ["seeds", "a list"]),
        (TINY | {"seeds": 10**30}, ["seeds=1000"]),
        (TINY | {"seeds": [1, 1]}, ["each once"]),
        (TINY | {"nfe": [-1]}, ["nfe=-1", "0 or more"]),
        (TINY | {"curve": {"nfe": [0]}}, ["curve.nfe=0", "1 or more"]),
        (TINY | {"nfe": [True]}, ["nfe=True"]),
        (TINY | {"guidance": float("nan")}, ["guidance"]),
        (TINY | {"model": "unett"}, ["unknown model", "did you mean 'unet'?"]),
        (TINY | {"prior": ["gmm"]}, ["unknown key 'prior'", "did you mean 'priors'?"]),
        (TINY | {"training": {"stps": 3}}, ["unknown key 'training.stps'"]),
        (TINY | {"training": {"seed": 3}}, ["training.seed", "--seeds"]),
        (TINY | {"training": 3}, ["training is a section"]),
        (
            TINY | {"curve": {"point": 3}},
            ["compare: unknown key 'curve.point'", "did you mean 'curve.points'?"],
        ),
        (TINY | {"evaluation": {"batchsize": 3}}, ["evaluation.batchsize", "batch_size"]),
        (TINY | {"trainer": "nothing"}, ["trainer='nothing'", "package.module:function"]),
        (TINY | {"conditions": "some"}, ["conditions='some'", "balanced"]),
        (TINY | {"references": {"test": "digits"}}, ["references.test", "another name"]),
        (TINY | {"references": "digits"}, ["references='digits'", "a section"]),
        (TINY | {"variants": {"a": {}}}, ["in place of", "leave out priors"]),
        (
            SHARED | {"variants": {"a": {"priors": "gmm"}}},
            ["unknown key 'variant.priors'", "did you mean 'variant.prior'?"],
        ),
        (SHARED | {"variants": {"a": 3}}, ["[variants.LABEL]"]),
        (SHARED | {"variants": {"real data": {}}}, ["real data have this name"]),
        (SHARED | {"variants": {"a": {"prior": "auto"}}}, ["got 'auto'; run flowprior inspect"]),
        (SHARED | {"variants": {"a": {"training": {"prediction": "x"}}}}, ["unknown prediction 'x'"]),
        (SHARED | {"variants": {"a": {"training": {"lr": -1.0}}}}, ["lr=-1.0", "above 0"]),
        (SHARED | {"variants": {"a": {"training": {"speed": 1}}}}, ["unknown key 'training.speed'"]),
        (SHARED | {"variants": {"a": {"training": {"seed": 1}}}}, ["training.seed is no key of a grid"]),
        (SHARED | {"splits": []}, ["one value or more", "got []"]),
        (SHARED | {"variants": {}}, ["variants names none"]),
        (SHARED | {"splits": ["validation"]}, ["splits names 'validation'", "validation = 500"]),
    ],
)
def test_mistakes(grid, words):
    with pytest.raises(FlowpriorError) as caught:
        grid_from_dict(grid)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_grid_has_every_option_of_evaluate_that_does_not_follow_from_its_keys():
    keys = {"nfe", "sampler", "samples", "guidance", "seed", "conditions"}
    given = {"flow", "data", "reference", "split", "generate", "progress", "group"}
    assert set(inspect.signature(evaluate).parameters) - keys - given == set(EVALUATION)


def test_a_file_that_is_no_grid(tmp_path):
    (tmp_path / "bad.toml").write_text("priors = [")
    with pytest.raises(FlowpriorError, match="is not TOML"):
        load_grid(tmp_path / "bad.toml")
    with pytest.raises(FlowpriorError, match="expected key=value"):
        load_grid(overrides=["training"])


# -- the plan of a grid ---------------------------------------------------------------------------


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
