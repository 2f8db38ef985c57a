"""An option that a command does not have is answered by one that means the same, or is spelt nearly so."""

from __future__ import annotations

from dataclasses import fields

import pytest
import typer.main

from flowprior.cli import app, mistakes
from flowprior.cli.mistakes import nearest_option, options_of, unknown_command
from flowprior.training import TrainingConfig

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def near(command: str, wrong: str) -> str | None:
    return nearest_option(wrong, options_of(COMMANDS[command]))


@pytest.mark.parametrize(
    ("command", "wrong", "meant"),
    [
        ("train", "--learning-rate", "--lr"),
        ("train", "--learning_rate", "--lr"),
        ("train", "--epochs", "--steps"),
        ("train", "--batch", "--batch-size"),
        ("train", "--batch_size", "--batch-size"),
        ("train", "--gpu", "--device"),
        ("train", "--cuda", "--device"),
        ("train", "--output", "--out"),
        ("train", "-o", "--out"),
        ("train", "--force", "--overwrite"),
        ("train", "--stesp", "--steps"),
        ("train", "--over", "--overwrite"),
        ("train", "--warmup-steps", "--set training.warmup=…"),
        ("train", "--fp16", "--set training.precision=…"),
        ("train", "--weight_decay", "--set training.weight_decay=…"),
        ("compare", "--lr", "--set training.lr=…"),
        ("compare", "--plan", "--dry-run"),
        ("sample", "--num-inference-steps", "--nfe"),
        ("sample", "--steps", "--nfe"),
        ("sample", "--guidance_scale", "--guidance"),
        ("sample", "--prompt", "--text"),
        ("sample", "--num-images", "--count"),
        ("evaluate", "--num-samples", "--samples"),
        ("evaluate", "--metric", "--metrics"),
    ],
)
def test_what_other_tools_call_it_is_known(command: str, wrong: str, meant: str) -> None:
    assert near(command, wrong) == meant


@pytest.mark.parametrize(
    ("command", "wrong"),
    [
        ("sample", "--lr"),
        ("info", "--device"),
        ("train", "--dry-run"),
        ("train", "--zzz"),
        ("train", "--verbose"),
        ("list", "--seed"),
        ("sample", "--warmup-steps"),
    ],
)
def test_nothing_is_suggested_that_is_far_in_meaning_and_spelling(command: str, wrong: str) -> None:
    assert near(command, wrong) is None


def test_whatever_is_suggested_exists() -> None:
    known = {name for command in COMMANDS.values() for name in options_of(command)} | {"--version"}
    assert set(mistakes.MEANT) <= known
    assert set(mistakes.COMMANDS) == set(COMMANDS)
    keys = {field.name for field in fields(TrainingConfig)}
    assert {key.replace("-", "_") for key in (*mistakes.SET_TRAINING, *mistakes.SET_MEANT)} <= keys
    assert keys - {key.replace("-", "_") for key in mistakes.SET_TRAINING} == {"steps", "seed", "max_minutes"}


def test_a_command_of_the_same_meaning_is_suggested() -> None:
    assert unknown_command("generate", list(COMMANDS)) == "no such command 'generate'; did you mean 'sample'?"
    assert unknown_command("qqq", ["train", "sample"]) == "no such command 'qqq'; there are train, sample"
