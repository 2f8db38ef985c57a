"""The configuration: read, written, from names and instances to parts, one line for every mistake."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path as FilePath

import pytest
import torch

from flowprior.conditions import Condition
from flowprior.couplings import Coupling
from flowprior.data import TensorData
from flowprior.errors import OptionError
from flowprior.paths import Path
from flowprior.priors import Prior
from flowprior.priors.network_training import NetworkTraining
from flowprior.training import (
    RunConfig,
    RunDirectory,
    TrainingConfig,
    load_config,
    train,
)
from flowprior.training.components import default_prior, resolve_components, resolve_config, resolve_device

from .conftest import components, small_net


def test_explicit_parts_win_over_the_configuration(points: TensorData, tmp_path: FilePath) -> None:
    base = RunConfig(prior="gmm", coupling="independent", training=TrainingConfig(steps=5, lr=0.5))
    config = resolve_config(base, {"lr": 0.25}, data=points, prior=None, coupling="condot")
    assert (config.data, config.prior, config.coupling) == ("points", "gmm", "condot")
    assert (config.training.steps, config.training.lr) == (5, 0.25)
    assert resolve_config(TrainingConfig(steps=5), {}).training.steps == 5
    (tmp_path / "run.toml").write_text('prior = "gaussian"\n[training]\nsteps = 7\n')
    config = resolve_config(tmp_path / "run.toml", {})
    assert (config.prior, config.training.steps) == ("gaussian", 7)


def test_instances_are_taken_and_recorded_by_name_and_options_or_by_class(points: TensorData) -> None:
    class Mine(type(Coupling.create("condot"))):
        pass

    parts = {
        "data": points,
        "prior": Prior.create("gmm", components=3),
        "path": Path.create("condot", sigma_min=0.1),
        "coupling": Mine(),
        "model": small_net(),
    }
    config = resolve_config(TrainingConfig(device="cpu"), {}, **parts)
    assert (config.prior, config.path) == ("gmm:components=3", "condot:sigma_min=0.1")
    assert (config.coupling, config.model) == ("<Mine>", "<SmallNet>")
    built = resolve_components(config, **parts)
    for name, part in parts.items():
        assert getattr(built, name) is part
    assert (built.specs["prior_spec"], built.specs["model_spec"]) == ("gmm:components=3", "")


@pytest.mark.parametrize(
    ("prior", "coupling"),
    [
        ("gaussian", "ot"),
        ("flow", "posterior"),
        (Prior.create("latent-gmm", rank=2), "posterior"),
        (Prior.create("gmm"), "ot"),
        (None, "posterior"),
    ],
    ids=str,
)
def test_a_coupling_that_nobody_chose_follows_the_prior(prior: str | Prior | None, coupling: str) -> None:
    for given in (None, "auto"):
        assert resolve_config(None, {}, prior=prior, coupling=given).coupling == coupling
    assert resolve_config(None, {}, prior=prior, coupling="condot").coupling == "condot"


GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(60, 2, generator=GENERATOR)
DEFAULTS = {
    "labels": (torch.arange(60) % 3, "latent-gmm", "posterior", "preconditioned"),
    "embeddings": (
        torch.randn(60, 5, generator=GENERATOR),
        "learned-mean:covariance=lowrank",
        "posterior",
        "preconditioned",
    ),
    "images": (torch.randn(60, 3, 8, 8), "learned-mean:covariance=diagonal", "condot", "residual"),
    "none": (None, "gaussian", "ot", "velocity"),
}
"""Kind of condition -> a condition, and the design that docs/choosing.md recommends for it."""


@pytest.mark.parametrize("kind", DEFAULTS)
def test_the_default_design_follows_the_condition(
    kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Networks of priors learn for two steps: what they learn decides nothing here."""
    monkeypatch.setattr(NetworkTraining, "within", lambda self, epochs, split: replace(self, steps=2))
    cond, *taken = DEFAULTS[kind]
    data = X if cond is None else (X, cond)
    flow = train(data, model="mlp:width=8,depth=1", steps=1, batch_size=32, device="cpu", progress=True)
    config = flow.metadata["config"]
    assert [config["prior"], config["coupling"], config["training"]["prediction"]] == taken
    assert "prior {}, coupling {}, prediction {}".format(*taken) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("parts", "prior"),
    [
        ({"a": Condition("labels", 3), "b": Condition("embeddings", 5)}, "latent-gmm"),
        ({"a": Condition("labels", 3), "b": Condition("labels", 2)}, "latent-gmm:reads=a"),
        (
            {"a": Condition("embeddings", 5), "b": Condition.of_shape((3, 8, 8))},
            "learned-mean:covariance=lowrank,reads=a",
        ),
        ({"a": Condition.of_shape((2, 9))}, "learned-mean:covariance=lowrank,mapper=linear"),
        ({"a": Condition("tokens", 5)}, "gaussian"),
    ],
)
def test_the_default_prior_of_parts_reads_labels_first(parts: dict[str, Condition], prior: str) -> None:
    assert default_prior(Condition("parts", parts=tuple(parts.items()))) == prior


def test_initial_weights_depend_on_the_seed_alone(points: TensorData) -> None:
    weights = []
    for caller, seed in [(1, 0), (2, 0), (1, 1)]:
        torch.manual_seed(caller)
        before = torch.random.get_rng_state()
        built = components(points, "mlp:width=8", seed=seed)
        weights.append(built.model.state_dict()["input.weight"])
        assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_device_that_cannot_compute_is_refused() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("gpu", "cuda:99", "meta", "meta:x"):
        with pytest.raises(
            OptionError, match=rf"device='{name}' is not usable: .*; choose 'auto' or 'cpu'"
        ) as caught:
            resolve_device(name)
        assert "\n" not in str(caught.value)


# -- the configuration tree -----------------------------------------------------------------------


def test_toml_round_trip(tmp_path: FilePath) -> None:
    training = TrainingConfig(steps=7, lr=3e-4, precision="bfloat16", channels_last=True, device="cpu")
    config = RunConfig("moons", "gmm:components=2", "condot", "vp", "mlp", training)
    RunDirectory(tmp_path).create(config)
    assert load_config(tmp_path / "config.toml") == config


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("training.step=3", "did you mean 'training.steps'"),
        ("priors=gmm", "did you mean 'prior'"),
        ("training.zzz=3", "known: steps, batch_size"),
        ("training=3", "training is a section"),
        ("data.name=3", "data="),
        ("training.steps", "section.key=value"),
        ("training.steps.more=3", "more"),
        ("training.steps=2.5", "a whole number"),
        ("training.steps=true", "a whole number"),
        ("training.steps=0", "training: steps=0"),
        ("training.lr=true", "a finite number"),
        ("training.lr=nan", "training: lr="),
        ("training.beta2=1.0", "training: beta2=1.0"),
        ("training.channels_last=1", "true or false"),
        ("training.precision=bfloat61", "expected 'float32' or 'bfloat16'"),
        ("training.condition_dropout=2", "expected 1.0 or less, or 'auto'"),
        ("data=3", "a text"),
    ],
)
def test_typos_wrong_types_and_values_out_of_range_are_one_line(override: str, expected: str) -> None:
    with pytest.raises(OptionError, match=r"^(config|training)") as caught:
        load_config(None, [override])
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_condition_dropout_is_a_share_or_follows_the_data() -> None:
    assert TrainingConfig().condition_dropout == TrainingConfig(condition_dropout="auto").condition_dropout
    assert TrainingConfig(condition_dropout=1).dropped_share == 1.0
    assert TrainingConfig().dropped_share == 0
    assert load_config(overrides=["training.condition_dropout=auto"]) == RunConfig()
    for value in ("some", "0.1", True, None, float("nan")):
        with pytest.raises(OptionError, match="training: condition_dropout="):
            TrainingConfig(condition_dropout=value)  # pyright: ignore[reportArgumentType]


def test_missing_and_broken_files(tmp_path: FilePath) -> None:
    with pytest.raises(OptionError, match=r"cannot read .*run\.toml"):
        load_config(tmp_path / "run.toml")
    (tmp_path / "run.toml").write_text("steps = = 3")
    with pytest.raises(OptionError, match="is not TOML"):
        load_config(tmp_path / "run.toml")


def test_a_file_extends_another_one_key_by_key(tmp_path: FilePath) -> None:
    """Through two files in two folders; overrides come last."""
    (tmp_path / "base.toml").write_text('data = "moons"\nprior = "gmm"\n[training]\nsteps = 10\nlr = 0.5\n')
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "middle.toml").write_text('extends = "../base.toml"\n[training]\nlr = 0.25\n')
    path = tmp_path / "own" / "run.toml"
    path.write_text('extends = "middle.toml"\nprior = "gaussian"\n')
    config = load_config(path, ["training.batch_size=7"])
    assert (config.data, config.prior) == ("moons", "gaussian")
    training = config.training
    assert (training.steps, training.lr, training.batch_size) == (10, 0.25, 7)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('extends = "run.toml"', r"run\.toml extends .*run\.toml, which extends .*run\.toml itself"),
        ('extends = "other.toml"', r"other\.toml extends .*run\.toml, which extends .*other\.toml itself"),
        ('extends = "gone.toml"', r"cannot read .*gone\.toml"),
        ('extends = ["other.toml"]', r"run\.toml extends \['other\.toml'\]; write extends = \"other\.toml\""),
    ],
)
def test_what_a_file_cannot_extend_is_one_line(tmp_path: FilePath, line: str, expected: str) -> None:
    (tmp_path / "run.toml").write_text(line)
    (tmp_path / "other.toml").write_text('extends = "run.toml"')
    with pytest.raises(OptionError, match=expected):
        load_config(tmp_path / "run.toml")


def test_every_field_is_documented() -> None:
    for tree in (RunConfig, TrainingConfig):
        for field in fields(tree):
            assert tree.__pydantic_fields__[field.name].description, field.name  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("line", ["", 'extends = "/dev/zero"'])
def test_a_file_without_an_end_is_refused_before_it_is_read(tmp_path: FilePath, line: str) -> None:
    """As ``--config`` itself, and where a file extends it."""
    (tmp_path / "run.toml").write_text(line)
    with pytest.raises(OptionError, match="cannot read /dev/zero: it is no regular file"):
        load_config(tmp_path / "run.toml" if line else "/dev/zero")


def test_the_file_of_an_older_run_is_read(tmp_path: FilePath) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[training]\nsteps = 4\nshard = false\npair_within = "micro-batch"\n')
    assert load_config(path).training.steps == 4
    path.write_text("[training]\nshard = true\n")
    with pytest.raises(OptionError, match=r"unknown key 'training\.shard'"):
        load_config(path)
