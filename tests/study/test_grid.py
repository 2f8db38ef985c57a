"""Grids: labels, variants, files, overrides, and one line for each mistake."""

from __future__ import annotations

import inspect
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from flowprior.errors import FlowpriorError, OptionError
from flowprior.evaluation import evaluate
from flowprior.study import load_grid
from flowprior.study.grid import EVALUATION, Curve, dump_grid, grid_from_dict, labelled
from flowprior.study.runs import plan_grid, variants
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
