"""A command, and options of other commands, for the tests of entry points."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from flowprior.cli.conditions import SampleOptions, SampleRequest
from flowprior.errors import OptionError


def count_letters(word: str, upper: bool = False) -> None:
    """Count the letters of a word."""
    if not word.isalpha():
        raise OptionError(f"count-letters: expected a word of letters, got {word!r}")
    typer.echo(f"{word.upper() if upper else word}: {len(word)}")


def brief(
    brief: Annotated[bool, typer.Option("--brief", help="Train for a single step.")] = False,
) -> dict[str, Any] | None:
    """An option of ``train``."""
    return {"steps": 1} if brief else None


def few(few: Annotated[int | None, typer.Option(help="How few samples.")] = None) -> dict[str, Any] | None:
    """An option of ``evaluate``."""
    return None if few is None else {"samples": few}


def label(
    label: Annotated[int | None, typer.Option(help="Label of which cold samples are drawn.")] = None,
) -> LabelOptions | None:
    """An option of ``sample``."""
    return None if label is None else LabelOptions(label)


class LabelOptions(SampleOptions):
    """Three samples of a label, at a low temperature."""

    option = "--label"

    def __init__(self, label: int) -> None:
        self.label, self.settings = label, {"temperature": 0.5}

    def read(self, flow, count, labels):
        import torch

        return SampleRequest(torch.full((3,), self.label), None, None, {"label": [str(self.label)]})


def seed_of_mine(
    seed: Annotated[int, typer.Option(help="An option that there is already.")] = 0,
) -> None:
    """An option that ``sample`` has already."""
