"""An option that a command does not have is answered by one that is spelt nearly so."""

from __future__ import annotations

from typing import Any

import pytest
import typer.main

from flowprior.cli import app
from flowprior.cli.mistakes import nearest_option, options_of, unknown_command

COMMANDS: Any = typer.main.get_command(app)


def near(command: str, wrong: str) -> str | None:
    return nearest_option(wrong, options_of(COMMANDS.get_command(None, command)))


@pytest.mark.parametrize(
    ("command", "wrong", "meant"),
    [
        ("train", "--batch", "--batch-size"),
        ("train", "--batch_size", "--batch-size"),
        ("train", "--stesp", "--steps"),
        ("train", "--over", "--overwrite"),
        ("train", "--weight_decay", "--set training.weight_decay=…"),
        ("train", "--wieght-decay", "--set training.weight_decay=…"),
        ("compare", "--lr", "--set training.lr=…"),
        ("evaluate", "--metric", "--metrics"),
    ],
)
def test_a_near_spelling_is_suggested(command: str, wrong: str, meant: str) -> None:
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
def test_nothing_is_suggested_that_is_spelt_otherwise(command: str, wrong: str) -> None:
    assert near(command, wrong) is None


def test_a_command_of_nearly_the_same_spelling_is_suggested() -> None:
    names = COMMANDS.list_commands(None)
    assert unknown_command("trian", names) == "no such command 'trian'; did you mean 'train'?"
    assert unknown_command("qqq", ["train", "sample"]) == "no such command 'qqq'; there are train, sample"
