"""``--picture FILE``: pictures of which a flow makes others, such as low-resolution ones."""

from __future__ import annotations

from collections.abc import Sequence
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


def refuse_beside_pictures(cond: str | None, captions: list[str] | None, labels: dict[str, str]) -> None:
    """Refuse other conditions beside ``--picture``.

    Raises:
        OptionError: there are some.
    """
    given = {"--cond": cond, "--text": captions, "--part": labels or None}
    for option, value in given.items():
        if value is not None:
            raise OptionError(f"--picture and {option} exclude each other; choose one of them")


def read_given(flow: Flow, files: Sequence[Path], count: int | None) -> Asked:
    """What pictures in files ask of a flow; transparent pixels are hidden ones, where it restores such.

    Args:
        flow: whose condition is a picture.
        files: one condition each, scaled to the condition's size.
        count: samples of each; None for 64 of a single one, 8 of several.

    Raises:
        OptionError: the flow's condition is no picture.
        InputError: a file that cannot be decoded.
    """
    import torch

    shape = flow.condition.shape
    if len(shape) != 3 or shape[0] - (shape[0] not in COLOURS) not in COLOURS:
        raise OptionError(
            f"--picture is not possible: this flow's condition is {flow.condition.describe()}; leave it out"
        )
    given = torch.stack([_read(file, shape) for file in files])
    rows = torch.arange(len(files)).repeat_interleave(count or (SINGLE if len(files) == 1 else EACH))
    return Asked(given[rows], None, rows, labels={"picture": [file.stem for file in files]})


def _read(file: Path, shape: tuple[int, ...]) -> Tensor:
    import torch

    from flowprior.data.picture_files import read_opacity, read_picture

    channels, *sides = shape
    size = (sides[0], sides[1])
    if channels in COLOURS:
        return read_picture(file, size, channels)
    known = (read_opacity(file, size) > 0.5).float()
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
