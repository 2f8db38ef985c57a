"""``--picture FILE``: pictures of which a flow makes others, such as low-resolution ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flowprior.cli.captions import Asked
from flowprior.cli.options import EACH, SINGLE
from flowprior.errors import OptionError

if TYPE_CHECKING:
    from torch import Tensor

    from flowprior.flow import Flow
    from flowprior.pictures.grid import Panel

COLOURS = (1, 3)
"""Channels of a picture that is given whole; one more where a part of it may be hidden."""
OPAQUE = 0.99
"""From which share on a pixel is known: below, the white that lies under transparency shines through."""


def refuse_beside_pictures(cond: str | None, captions: list[str] | None) -> None:
    """Refuse other conditions beside ``--picture`` than labels of parts.

    Raises:
        OptionError: there are some.
    """
    for option, value in {"--cond": cond, "--text": captions}.items():
        if value is not None:
            raise OptionError(f"--picture and {option} exclude each other; choose one of them")


def read_given(
    flow: Flow, files: Sequence[Path], count: int | None, labels: Mapping[str, str] | None = None
) -> Asked:
    """What pictures in files ask of a flow; transparent pixels are hidden ones, where it restores such.

    Args:
        flow: whose condition is a picture, or has one as a part beside labels.
        files: one condition each, scaled to the condition's size.
        count: samples of each; None for 64 of a single one, 8 of several.
        labels: part -> its label, for all pictures.

    Raises:
        OptionError: the flow's condition has no picture, or a part that is not asked for, or no such part.
        InputError: a file that cannot be decoded.
    """
    import torch

    from flowprior.conditions import as_value

    labels = labels or {}
    name, shape = _picture_of(flow)
    _check_labels(flow, name, labels)
    given = torch.stack([_read(file, shape) for file in files])
    value = as_value(flow.captions.read({name: given, **labels}, None, "sample")) if name else given
    rows = torch.arange(len(files)).repeat_interleave(count or (SINGLE if len(files) == 1 else EACH))
    words = {part: [label] * len(files) for part, label in labels.items()}
    return Asked(value[rows], None, rows, labels={"picture": [file.stem for file in files], **words})


def _picture_of(flow: Flow) -> tuple[str, tuple[int, ...]]:
    """Name and shape of the part that is a picture; the name is empty where it is the whole condition."""
    shapes = {name: part.shape for name, part in flow.condition.named.items() if part.is_picture}
    found = {name: shape for name, shape in shapes.items() if _colours(shape) in COLOURS}
    if len(found) != 1:
        raise OptionError(
            f"--picture is not possible: this flow's condition is {flow.condition.describe()}; leave it out"
        )
    return next(iter(found.items()))


def _colours(shape: tuple[int, ...]) -> int:
    return shape[0] - (shape[0] not in COLOURS)


def _check_labels(flow: Flow, picture: str, labels: Mapping[str, str]) -> None:
    others = [name for name in flow.condition.names if name != picture]
    missing = [name for name in others if name not in labels]
    unknown = [name for name in labels if name not in others]
    if missing or unknown:
        problem = f"add --part {missing[0]}=NAME" if missing else f"leave --part {unknown[0]} out"
        raise OptionError(f"this flow's condition is {flow.condition.describe()}; {problem}")


def _read(file: Path, shape: tuple[int, ...]) -> Tensor:
    import torch

    from flowprior.data.picture_files import read_opacity, read_picture

    channels, *sides = shape
    size = (sides[0], sides[1])
    if channels in COLOURS:
        return read_picture(file, size, channels)
    known = (read_opacity(file, size) > OPAQUE).float()
    return torch.cat([read_picture(file, size, channels - 1) * known, 2 * known - 1])


def given_panels(flow: Flow, asked: Asked, panels: dict[str, Panel]) -> dict[str, Panel]:
    """``panels`` with the pictures that were given, once each, before them."""
    import torch

    from flowprior.pictures import given_pictures

    assert asked.rows is not None
    first = torch.tensor([int((asked.rows == row).nonzero()[0]) for row in asked.rows.unique()])
    cond = None if asked.cond is None else asked.cond[first]
    shown = given_pictures(cond, flow.event_shape)
    return panels if shown is None else {"given": (shown, asked.rows[first]), **panels}
