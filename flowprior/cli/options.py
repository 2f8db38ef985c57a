"""The options that several commands take, and what is read from them: a flow, numbers, a data set."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from flowprior.errors import OptionError

if TYPE_CHECKING:
    from flowprior.flow import Flow

LARGEST_SEED = (1 << 63) - 1
"""The largest seed, a little below the largest of torch's generators."""
CONDITIONS, SAMPLING, OUTPUT = "Conditions", "Sampling", "Output"
"""The groups of options in the helps of ``sample`` and ``evaluate``."""
N = TypeVar("N", int, float)

Run = Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a run or of a saved flow.")]
Seed = Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Random seed.")]
Device = Annotated[
    str,
    typer.Option(help="auto (CUDA where there is one), or a torch device.", rich_help_panel=SAMPLING),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on stdout.")]


def refuse_given_twice(keys: Collection[str], overrides: Sequence[str]) -> None:
    """Refuse a key of ``--set`` that an option of its own gives, too; one of the two would be ignored.

    Raises:
        OptionError: one of ``overrides`` sets one of ``keys``.
    """
    for override in overrides:
        key = override.partition("=")[0].strip()
        if key in keys:
            raise OptionError(
                f"--set {key}=…: an option of the command gives {key}, too; leave one of them out"
            )


def parse_numbers(text: str, option: str, number: Callable[[str], N]) -> list[N]:
    """Return numbers separated by commas.

    Args:
        text: the value of the option.
        option: the option, for the message.
        number: the type of the numbers, ``int`` or ``float``.

    Raises:
        OptionError: something else.
    """
    try:
        return [number(part) for part in text.split(",")]
    except ValueError:
        kind = "whole numbers" if number is int else "numbers"
        raise OptionError(
            f"{option}={text!r} is not possible; write {kind} with commas between them, such as 1,2,4"
        ) from None


def load_run(path: Path, device: str) -> Flow:
    """Return the flow of a run directory (the finished one, else its newest checkpoint) or a saved flow.

    Where the run is unfinished, a warning of one line says so.

    Raises:
        CheckpointError: there is none, or it cannot be read.
        OptionError: no such device.
    """
    from flowprior.flow import Flow
    from flowprior.training.components import resolve_device

    return Flow.load(path, device=resolve_device(device))


def data_spec(flow: Flow, data: str | None) -> str:
    """Return ``data`` if it is given, else the data set that the flow was trained on.

    Raises:
        OptionError: neither is known.
    """
    config = flow.metadata.get("config")
    spec = config.get("data") if data is None and isinstance(config, dict) else data
    if not isinstance(spec, str):
        raise OptionError("this flow does not say which data it was trained on; pass --data")
    return spec
