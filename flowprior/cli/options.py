"""The options that several commands take, and what is read from them: flow, data, conditions."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowprior.cli.catalogue import completing
from flowprior.errors import OptionError
from flowprior.storage.user_paths import expanded

if TYPE_CHECKING:
    from torch import Tensor

    from flowprior.conditions import Condition
    from flowprior.flow import Flow


LARGEST_SEED = (1 << 63) - 1
"""What torch's generators take, and a little less."""
CONDITIONS, SAMPLING, OUTPUT = "Conditions", "Sampling", "Output"
"""The groups of options in the helps of ``sample`` and ``evaluate``."""


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value


Run = Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a run or of a saved flow.")]
Sampler = Annotated[
    str | None,
    typer.Option(
        help="Sampler, a name (flowprior list samplers) or name:key=value,…; by default what suits the flow.",
        autocompletion=completing("samplers"),
        rich_help_panel=SAMPLING,
    ),
]
Guidance = Annotated[
    float,
    typer.Option(
        help="CFG scale (classifier-free guidance); 1 = off.", callback=_finite, rich_help_panel=SAMPLING
    ),
]
Seed = Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Random seed.")]
Device = Annotated[
    str,
    typer.Option(help="auto (CUDA where there is one), or a torch device.", rich_help_panel=SAMPLING),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on stdout.")]


SINGLE = 64
EACH = 8


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


def parse_integers(text: str, option: str) -> list[int]:
    """Return whole numbers separated by commas.

    Raises:
        OptionError: something else.
    """
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise OptionError(
            f"{option}={text!r} is not possible; write whole numbers with commas between them, such as 1,2,4"
        ) from None


def parse_conditions(
    text: str | None, condition: Condition, count: int | None, names: Sequence[str] = ()
) -> Tensor | None:
    """The condition of each sample, ``count`` samples for each one in ``text``.

    Args:
        text: ``"3"``, ``"0,1,2"``, names with commas between, or ``"all"`` (None is the same) for labels; one
            embedding, its numbers separated by commas, for embeddings; or a file ``.npy`` of conditions, one
            in a row.
        condition: what the flow expects.
        count: samples for each; by default 64 of a single condition, 8 of several.
        names: of the labels, where the flow knows them.

    Raises:
        OptionError: something else.
        InputError: no label of that name.
    """
    import torch

    if condition.kind == "none":
        if text is not None:
            raise OptionError(f"--cond={text!r} is not possible: this flow has no condition; leave it out")
        return None
    if text is not None and text.endswith(".npy") and condition.kind not in ("tokens", "parts"):
        rows = _array(expanded(text), condition)
        return rows[rows_for(len(rows), count)]
    if condition.kind == "tensor":
        advice = "give pictures as --picture FILE, or arrays" if condition.is_picture else "give arrays"
        raise OptionError(
            f"{_refused(text)}: this flow's condition is {condition.describe()}; {advice} as --cond FILE.npy"
        )
    if condition.kind in ("tokens", "parts"):
        raise OptionError(
            f"{_refused(text)}: this flow's condition is {condition.describe()}; write "
            "captions as --text and labels as --part NAME=VALUE, or call flow.sample from Python"
        )
    if condition.kind == "labels":
        rows = torch.tensor(_labels(text, condition, names))
    else:
        rows = torch.tensor([_embedding(text, condition.size)])
    return rows[rows_for(len(rows), count)]


def rows_for(conditions: int, count: int | None) -> Tensor:
    """Return which of so many conditions each sample has ``[N]``.

    Args:
        conditions: how many there are.
        count: samples of each; None for 64 of a single one, 8 of several.
    """
    import torch

    return torch.arange(conditions).repeat_interleave(count or (SINGLE if conditions == 1 else EACH))


def _array(path: Path, condition: Condition) -> Tensor:
    """The conditions in a file, checked.

    Raises:
        DataNotFoundError: no such file.
        InputError: no array, or one of other conditions.
    """
    import numpy as np

    from flowprior.errors import DataNotFoundError, InputError
    from flowprior.streams.user_tensors import check_finite, plain_tensor

    if not path.is_file():
        raise DataNotFoundError(f"--cond: no file {path}; give labels, numbers or an existing .npy file")
    try:
        values = np.load(path, allow_pickle=False)
    except Exception as error:  # What a damaged or foreign file raises is its own affair.
        raise InputError(
            f"--cond: {path} holds no array of numbers ({error}); write it by numpy.save"
        ) from error
    rows = plain_tensor(values, "condition", f"--cond {path}")
    rows = rows.float() if rows.is_floating_point() else rows.long()
    if not rows.dim() or not len(rows):
        raise InputError(f"--cond: {path} holds no row; expected {condition.describe()}")
    if rows.dim() > 1:
        check_finite(rows, "condition", f"--cond {path}")
    return condition.check(rows, f"--cond {path}")


def _labels(text: str | None, condition: Condition, names: Sequence[str]) -> list[int]:
    if text is None or text == "all":
        return list(range(condition.size))
    from flowprior.flow.readers import are_words, labels_of
    from flowprior.registry.options import listed_names

    if are_words(names):
        return labels_of(listed_names(text, names), condition, names, "--cond").tolist()
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise OptionError(
            f"--cond={text!r} is not possible; write labels of 0..{condition.size - 1} with commas "
            "between them, or all"
        ) from None


def _refused(text: str | None) -> str:
    return "nothing is asked for" if text is None else f"--cond={text!r} is not possible"


def _embedding(text: str | None, size: int) -> list[float]:
    try:
        values = [float(part) for part in (text or "").split(",")]
    except ValueError:
        values = []
    if len(values) != size or not all(math.isfinite(value) for value in values):
        raise OptionError(
            f"{_refused(text)}: this flow's condition is an embedding; write its "
            f"{size} numbers with commas between them, a caption as --text, or call flow.sample from Python"
        )
    return values


def load_run(path: Path, device: str) -> Flow:
    """The flow of a run directory (the finished one, else its newest checkpoint) or of a saved flow.

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
