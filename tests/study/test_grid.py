"""Grids: labels, defaults, files, overrides, and one line for each mistake."""

from __future__ import annotations

import inspect
import tomllib
from pathlib import Path

import pytest

from flowprior.errors import FlowpriorError, OptionError
from flowprior.evaluation import evaluate
from flowprior.study import Grid, load_grid
from flowprior.study.grid import EVALUATION, Curve, dump_grid, grid_from_dict
from flowprior.study.runs import variants
from flowprior.training.config import DEFAULT_PRIOR
from tests.study.conftest import TINY, tiny_grid

GUIDED = {**TINY["training"], "condition_dropout": 0.1}
GRIDS = Path(__file__).parents[2] / "benchmarks" / "studies"


def test_labels_are_names_where_those_are_unambiguous():
    grid = grid_from_dict({"priors": ["gaussian", "gmm:components=2"], "couplings": ["condot", "batchot"]})
    assert grid.priors == {"gaussian": "gaussian", "gmm": "gmm:components=2"}
    assert grid.couplings == {"condot": "condot", "ot": "ot"}
    grid = grid_from_dict({"priors": ["gmm", "gmm:components=2"]})
    assert grid.priors == {"gmm": "gmm", "gmm:components=2": "gmm:components=2"}


def test_a_label_stands_before_the_first_equals_sign_that_is_no_options():
    grid = grid_from_dict({"priors": ["two=gmm:components=2,shrinkage=0.1", "gmm:components=4"]})
    assert grid.priors == {"two": "gmm:components=2,shrinkage=0.1", "gmm:components=4": "gmm:components=4"}
    assert grid_from_dict({"priors": {"a b": "gaussian"}}).priors == {"a b": "gaussian"}


def test_a_coupling_may_be_what_suits_the_prior():
    grid = grid_from_dict({"priors": ["gaussian", "latent-gmm"], "couplings": ["auto", "ot"]})
    assert grid.couplings == {"auto": "auto", "ot": "ot"}
    found = {v.label: (v.coupling, v.prediction) for v in variants(grid)}
    assert found == {
        "gaussian + auto": ("ot", "velocity"),
        "gaussian + ot": ("ot", "velocity"),
        "latent-gmm + auto": ("posterior", "preconditioned"),
        "latent-gmm + ot": ("ot", "velocity"),
    }
    with pytest.raises(FlowpriorError, match=r"unknown coupling 'otto'.*'auto' for what suits the prior"):
        grid_from_dict({"couplings": ["otto"]})


@pytest.mark.parametrize("change", [{"priors": ["auto"]}, {"variants": {"own": {"prior": "auto"}}}])
def test_a_prior_auto_is_one_line_that_names_inspect(change):
    with pytest.raises(
        OptionError, match="compare: expected the name of a prior, got 'auto'; run flowprior inspect"
    ):
        grid_from_dict(change)


def test_a_number_of_seeds_counts_from_zero():
    assert grid_from_dict({"seeds": 3}).seeds == (0, 1, 2)
    assert grid_from_dict({"seeds": [4, 1]}).seeds == (4, 1)


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
    told = {label: (parts["prior"], parts["coupling"]) for label, parts in grid.variants.items()}
    assert list(told) == ["c", "a", "d"]
    assert told["a"] == ("gaussian", "condot")
    assert (told["c"][0], told["d"][0]) == ("gaussian", "gmm")


def test_a_grid_comes_back_from_toml():
    grid = tiny_grid(baseline="low-rank + ot", guidance=1.5, training=GUIDED, evaluation={"batch_size": 50})
    assert grid_from_dict(tomllib.loads(dump_grid(grid))) == grid


def test_values_win_over_the_file_and_overrides_over_both(tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text('seeds = 2\nnfe = [3]\npriors = ["gmm"]\n[training]\nsteps = 7\nlr = 0.1\n')
    values = {"nfe": [1, 2], "priors": ["gaussian"]}
    grid = load_grid(path, values, ["training.steps=9", "curve.points=0", "seeds=4"])
    assert (grid.nfe, list(grid.priors), grid.seeds) == ((1, 2), ["gaussian"], (0, 1, 2, 3))
    assert (grid.training.steps, grid.training.lr, grid.curve.points) == (9, 0.1, 0)
    assert grid.training.sample_every == 0


@pytest.mark.parametrize("dropped", [{}, {"condition_dropout": 0.0}, {"condition_dropout": "auto"}])
def test_guidance_without_condition_dropout_is_refused_before_anything_is_trained(dropped):
    with pytest.raises(OptionError, match=r"guidance=1\.5 needs .*--set training\.condition_dropout=0\.1"):
        tiny_grid(guidance=1.5, training={**TINY["training"], **dropped})
    assert tiny_grid(guidance=1.5, training=GUIDED).guidance == 1.5


@pytest.mark.parametrize("path", sorted(GRIDS.glob("*.toml")), ids=lambda path: path.stem)
def test_the_grids_of_the_repository_are_grids(path):
    assert load_grid(path).samples >= 2


def test_the_small_grid_of_ci_is_as_it_was_asked_for():
    grid = load_grid(GRIDS / "digits_grid.toml")
    assert (grid.data, len(grid.priors), len(grid.couplings), len(grid.seeds)) == ("digits", 2, 2, 2)


def test_curve_points_are_even_and_end_at_the_budget():
    assert Curve(points=4).steps(100) == [25, 50, 75, 100]
    assert Curve(points=3).steps(100) == [33, 66, 100]
    assert Curve(points=6).steps(4) == [1, 2, 3, 4]
    assert Curve(points=1).steps(9) == [9]
    assert Curve(points=0).steps(9) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"priors": ["gmn"]}, ["unknown prior 'gmn'", "did you mean 'gmm'?"]),
        ({"samplers": ["eular"]}, ["unknown sampler", "euler"]),
        ({"couplings": ["ot", "batchot"]}, ["couplings names 'ot' twice"]),
        ({"priors": ["a=gaussian", "a=gmm"]}, ["priors names 'a' twice"]),
        ({"priors": []}, ["priors=", "at least one spec"]),
        ({"priors": "gmm"}, ["priors='gmm'", "give a list"]),
        ({"priors": [3]}, ["priors has 3"]),
        ({"seeds": 0}, ["seeds"]),
        ({"seeds": [1, 1]}, ["names a number twice"]),
        ({"nfe": [-1]}, ["nfe=-1", "0 or more"]),
        ({"curve": {"nfe": [0]}}, ["curve.nfe=0", "1 or more"]),
        ({"nfe": [True]}, ["nfe=True"]),
        ({"samples": 1}, ["samples=1", "2 or more"]),
        ({"guidance": float("nan")}, ["guidance"]),
        ({"model": "unett"}, ["unknown model", "did you mean 'unet'?"]),
        ({"prior": ["gmm"]}, ["unknown key 'prior'", "did you mean 'priors'?"]),
        ({"training": {"stps": 3}}, ["unknown key 'training.stps'"]),
        ({"training": {"seed": 3}}, ["training.seed", "--seeds"]),
        ({"training": {"keep_checkpoints": 3}}, ["training.keep_checkpoints", "curve.points"]),
        ({"training": 3}, ["training is a section"]),
        ({"curve": {"point": 3}}, ["unknown key 'curve.point'", "did you mean 'curve.points'?"]),
        ({"curve": {"points": -1}}, ["curve.points=-1"]),
        ({"evaluation": {"nfe": [3]}}, ["evaluation.nfe", "keys of the grid"]),
        ({"evaluation": {"batchsize": 3}}, ["evaluation.batchsize", "batch_size"]),
        ({"data": 3}, ["data=3", "a text"]),
    ],
)
def test_mistakes(change, words):
    with pytest.raises(FlowpriorError) as caught:
        grid_from_dict({**TINY, **change})
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_grid_has_every_option_of_evaluate_that_does_not_follow_from_its_keys():
    keys = {"nfe", "sampler", "samples", "guidance", "seed", "conditions"}
    given = {"flow", "data", "reference", "split", "generate", "progress", "group"}
    assert set(inspect.signature(evaluate).parameters) - keys - given == set(EVALUATION)


def test_unreadable_files(tmp_path):
    with pytest.raises(FlowpriorError, match=r"cannot read .*gone.toml"):
        load_grid(tmp_path / "gone.toml")
    (tmp_path / "bad.toml").write_text("priors = [")
    with pytest.raises(FlowpriorError, match="is not TOML"):
        load_grid(tmp_path / "bad.toml")
    with pytest.raises(FlowpriorError, match="expected key=value"):
        load_grid(overrides=["training"])


def test_the_default_grid_is_the_usual_start_against_the_librarys():
    grid = Grid()
    assert grid.priors["gaussian"] == "gaussian"
    assert list(grid.priors.values()) == ["gaussian", DEFAULT_PRIOR]
    assert list(grid.couplings) == ["condot", "ot", "posterior"]
    assert "condot" in grid.couplings
