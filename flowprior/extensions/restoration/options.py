"""The option of ``flowprior sample`` for images to restore: ``--picture FILE``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowprior.cli.conditions import SampleOptions, SampleRequest
from flowprior.cli.options import CONDITIONS
from flowprior.errors import OptionError

if TYPE_CHECKING:
    from torch import Tensor

    from flowprior.flow import Flow
    from flowprior.pictures.grid import Panel

CHANNELS = (1, 3)
"""The channels of an image to restore; a condition with a hidden part has one more."""
OPAQUE = 0.99
"""The least opacity of a known pixel; a pixel of less opacity counts as hidden."""


def pictures(
    picture: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Image to restore, for a flow whose condition is an image; can be repeated.",
            rich_help_panel=CONDITIONS,
        ),
    ] = None,
) -> ImageOptions | None:
    """Return the images in the files, or None where there is none."""
    return ImageOptions(picture) if picture else None


class ImageOptions(SampleOptions):
    """The images of files as conditions, scaled to the condition's size; transparent pixels are hidden.

    Args:
        files: the file of each condition.
    """

    option = "--picture"

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = files

    def read(self, flow: Flow, count: int | None, labels: Mapping[str, str]) -> SampleRequest:
        """Return the samples that the images ask for, each with the same label of every other part.

        Raises:
            OptionError: the flow's condition has no image, or a part that is not asked for, or no such part.
            InputError: a file that cannot be decoded.
        """
        import torch

        from flowprior.conditions.rows import as_value

        name, shape = _image_of(flow)
        others = [part for part in flow.condition.names if part != name]
        missing = [part for part in others if part not in labels]
        unknown = [part for part in labels if part not in others]
        if missing or unknown:
            problem = f"add --part {missing[0]}=NAME" if missing else f"leave --part {unknown[0]} out"
            raise OptionError(f"this flow's condition is {flow.condition.describe()}; {problem}")
        given = torch.stack([_read_image(file, shape) for file in self.files])
        value = as_value(flow.words.read({name: given, **labels}, None, "sample")) if name else given
        words = {part: [label] * len(self.files) for part, label in labels.items()}
        return SampleRequest.of_rows(value, count, {"picture": [file.stem for file in self.files], **words})

    def panels(
        self, flow: Flow, request: SampleRequest, x: Tensor, panels: dict[str, Panel]
    ) -> dict[str, Panel]:
        """Return the panels with the images that were given, once each, before them."""
        import torch

        from flowprior.pictures import given_pictures

        panels = panels or {"restored": (x, request.rows)}
        assert request.rows is not None
        first = torch.tensor([int((request.rows == row).nonzero()[0]) for row in request.rows.unique()])
        cond = None if request.cond is None else request.cond[first]
        shown = given_pictures(cond, flow.event_shape)
        return panels if shown is None else {"given": (shown, request.rows[first]), **panels}


def _image_of(flow: Flow) -> tuple[str, tuple[int, ...]]:
    """Return name and shape of the part that is an image; the name is empty for the whole condition."""
    shapes = {name: part.shape for name, part in flow.condition.named.items() if part.is_picture}
    found = {name: shape for name, shape in shapes.items() if shape[0] - _is_masked(shape) in CHANNELS}
    if len(found) != 1:
        raise OptionError(
            f"--picture is not possible: this flow's condition is {flow.condition.describe()}; leave it out"
        )
    return next(iter(found.items()))


def _is_masked(shape: tuple[int, ...]) -> bool:
    """Return whether an image has one channel more, which says what is known of it."""
    return shape[0] not in CHANNELS


def _read_image(file: Path, shape: tuple[int, ...]) -> Tensor:
    import torch

    from flowprior.data.picture_files import read_opacity, read_picture

    channels, height, width = shape
    size = height, width
    if not _is_masked(shape):
        return read_picture(file, size, channels)
    known = (read_opacity(file, size) > OPAQUE).float()
    return torch.cat([read_picture(file, size, channels - 1) * known, 2 * known - 1])
