"""The configuration tree: reading, writing, and one line for every mistake."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from flowprior.errors import OptionError
from flowprior.training import (
    RunConfig,
    RunDirectory,
    TrainingConfig,
    load_config,
)


def test_toml_round_trip(tmp_path: Path) -> None:
    training = TrainingConfig(steps=7, lr=3e-4, precision="bfloat16", channels_last=True, device="cpu")
    config = RunConfig("moons", "gmm:components=2", "condot", "vp", "mlp", training)
    RunDirectory(tmp_path).create(config)
    assert load_config(tmp_path / "config.toml") == config


def test_file_then_overrides_and_the_last_override_wins(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('data = "moons"\n[training]\nsteps = 10\nlr = 1\n')
    config = load_config(
        path,
        [
            "training.steps=20",
            "training.steps=30",
            "prior=gmm:components=8,covariance=diag",
            "training.lr=2e-4",
        ],
    )
    assert (config.data, config.prior) == ("moons", "gmm:components=8,covariance=diag")
    assert (config.training.steps, config.training.lr) == (30, 2e-4)


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
        ("training.beta1=1.0", "training: beta1=1.0"),
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


def test_missing_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"cannot read .*run\.toml"):
        load_config(tmp_path / "run.toml")
    (tmp_path / "run.toml").write_text("steps = = 3")
    with pytest.raises(OptionError, match="is not TOML"):
        load_config(tmp_path / "run.toml")


def test_a_file_extends_another_one_key_by_key(tmp_path: Path) -> None:
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
def test_what_a_file_cannot_extend_is_one_line(tmp_path: Path, line: str, expected: str) -> None:
    (tmp_path / "run.toml").write_text(line)
    (tmp_path / "other.toml").write_text('extends = "run.toml"')
    with pytest.raises(OptionError, match=expected):
        load_config(tmp_path / "run.toml")


def test_every_field_is_documented() -> None:
    for tree in (RunConfig, TrainingConfig):
        for field in fields(tree):
            assert tree.__pydantic_fields__[field.name].description, field.name  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("line", ["", 'extends = "/dev/zero"'])
def test_a_file_without_an_end_is_refused_before_it_is_read(tmp_path: Path, line: str) -> None:
    """As ``--config`` itself, and where a file extends it."""
    (tmp_path / "run.toml").write_text(line)
    with pytest.raises(OptionError, match="cannot read /dev/zero: it is no regular file"):
        load_config(tmp_path / "run.toml" if line else "/dev/zero")


def test_the_file_of_an_older_run_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[training]\nsteps = 4\nshard = false\npair_within = "micro-batch"\n')
    assert load_config(path).training.steps == 4
    path.write_text("[training]\nshard = true\n")
    with pytest.raises(OptionError, match=r"unknown key 'training\.shard'"):
        load_config(path)
