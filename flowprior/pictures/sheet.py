"""A sheet of images: blocks beside each other, rows across them, and the names of both, pixel by pixel."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flowprior.errors import InputError
from flowprior.pictures.glyphs import drawable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 100
NAME_POINTS, TITLE_POINTS = 9, 11
MOST_LINES = 3


def class_name(label: int, names: Sequence[str] | None) -> str:
    """The name of a class, or its number where it has none."""
    return names[label] if names is not None and 0 <= label < len(names) else str(label)


def clipped(text: str, letters: int) -> str:
    """The text as the font can show it, with an ellipsis in place of what is beyond ``letters``."""
    text = drawable(text)
    return text if len(text) <= letters else text[: letters - 1] + "…"


def wrapped(name: str, letters: int) -> str:
    """A name in at most three lines of so many letters."""
    lines = textwrap.wrap(drawable(" ".join(name.split())), letters)
    return "\n".join([*lines[: MOST_LINES - 1], clipped(" ".join(lines[MOST_LINES - 1 :]), letters)]).strip()


@lru_cache(1024)
def text_size(text: str, points: float = NAME_POINTS) -> tuple[int, int]:
    """Pixels that a text takes across and down."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not text:
        return 0, 0
    figure = Figure(dpi=DPI)
    shown = figure.text(0, 0, text, fontsize=points, linespacing=1, parse_math=False)
    box = shown.get_window_extent(FigureCanvasAgg(figure).get_renderer())
    return int(box.width) + 2, int(box.height) + 2


LETTER = 7
"""Pixels of a letter, about; what is wrapped is measured afterwards."""
LONGEST_NAME = 16
GAP, BLOCK_GAP, EDGE = 4, 20, 8
MOST_PIXELS = 2**16 - 1
"""Of a side of a figure."""
WHITE, FRAME = 255, 200


@dataclass(frozen=True)
class Block:
    """Images under one name.

    Attributes:
        name: what stands above the block; may be empty.
        rows: bytes ``[n, H, W, 3]`` of each row of the sheet, of any n.
        columns: images in a line; a row of more takes several lines.
    """

    name: str
    rows: list[Tensor]
    columns: int


class Sheet:
    """Where everything on a sheet of images stands.

    Args:
        blocks: each with as many rows as there are ``row_names``.
        row_names: what stands at the left of each row's first line.
        captions: what stands above each image of the first row of the first block.
    """

    def __init__(self, blocks: Sequence[Block], row_names: Sequence[str], captions: Sequence[str]) -> None:
        self.blocks = blocks
        self.row_names = [wrapped(name, LONGEST_NAME) for name in row_names]
        self.captions = [wrapped(caption, LONGEST_NAME) for caption in captions]
        self.height, self.width = blocks[0].rows[0].shape[1:3]
        sizes = [text_size(caption) for caption in self.captions]
        self.over = max((down + GAP for _, down in sizes), default=0)
        self.across = max([self.width, *(across for across, _ in sizes)]) + GAP
        self.names = [wrapped(block.name, max(block.columns * self.across // LETTER, 8)) for block in blocks]
        self.tops = self._tops()
        self.lefts = self._lefts()

    def _tops(self) -> list[int]:
        """Upper edge of each row, and of what follows the last one."""
        lines = [
            max(-(-len(block.rows[row]) // block.columns) for block in self.blocks)
            for row in range(len(self.row_names))
        ]
        return [0, *accumulate(count * (self.height + GAP + self.over) for count in lines)]

    def _lefts(self) -> list[int]:
        """Left edge of each block, and of what follows the last one."""
        named = zip(self.blocks, self.names, strict=True)
        sides = [max(block.columns * self.across, text_size(name)[0]) for block, name in named]
        return [0, *accumulate(side + BLOCK_GAP for side in sides)]

    def corners(self, place: int, row: int) -> Iterator[tuple[int, int]]:
        """Column and row of pixels where each image of a block's row begins."""
        block = self.blocks[place]
        margin = (self.across - GAP - self.width) // 2
        for number in range(len(block.rows[row])):
            line, column = divmod(number, block.columns)
            yield (
                self.lefts[place] + column * self.across + margin,
                self.tops[row] + line * (self.height + GAP + self.over) + self.over,
            )

    def canvas(self) -> Tensor:
        """The images on white, each in a thin grey frame, as bytes ``[height, width, 3]``.

        Raises:
            InputError: a side of more pixels than a figure can have.
        """
        size = (self.tops[-1] + GAP, self.lefts[-1] - BLOCK_GAP + GAP)
        if max(size) > MOST_PIXELS // 2:
            raise InputError(
                f"picture: so many images make {size[1]:,} x {size[0]:,} pixels, more than a picture can "
                "hold; draw fewer, or write an .npz or .pt file instead"
            )
        canvas = torch.full((*size, 3), WHITE, dtype=torch.uint8)
        for place, block in enumerate(self.blocks):
            for row, images in enumerate(block.rows):
                for (x, y), image in zip(self.corners(place, row), images, strict=True):
                    x, y = x + 1, y + 1
                    canvas[y - 1 : y + self.height + 1, x - 1 : x + self.width + 1] = FRAME
                    canvas[y : y + self.height, x : x + self.width] = image
        return canvas

    def texts(self) -> Iterator[tuple[float, float, str, str, str]]:
        """x, y, words, horizontal and vertical alignment of every name; in pixels of the canvas."""
        for top, name in zip(self.tops, self.row_names, strict=False):
            yield -EDGE, top + self.over + self.height / 2, name, "right", "center"
        for left, name in zip(self.lefts, self.names, strict=False):
            yield left, -EDGE / 2, name, "left", "bottom"
        for (x, y), caption in zip(self.corners(0, 0), self.captions, strict=False):
            yield x + self.width / 2, y - 1, caption, "center", "bottom"


def draw_sheet(sheet: Sheet, title: str = "") -> Figure:
    """The sheet as a figure of one dot a pixel, under its title.

    Raises:
        InputError: more images than a figure can hold.
    """
    from matplotlib.figure import Figure

    canvas, title = sheet.canvas(), drawable(title)
    left = EDGE + max((text_size(name)[0] + EDGE for name in sheet.row_names if name), default=0)
    heading = text_size(title, TITLE_POINTS)
    names = max(text_size(name)[1] for name in sheet.names)
    top = EDGE + (heading[1] + EDGE) * bool(title) + names
    height, width = canvas.shape[0] + top + EDGE, max(canvas.shape[1], heading[0]) + left + EDGE
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    place = (left / width, EDGE / height, canvas.shape[1] / width, canvas.shape[0] / height)
    axes = figure.add_axes(place)
    axes.set_axis_off()
    axes.imshow(
        canvas.numpy(),
        interpolation="nearest",
        aspect="auto",
        extent=(0, canvas.shape[1], canvas.shape[0], 0),
    )
    plain: dict[str, Any] = {"color": "black", "parse_math": False}  # A user's name is no formula.
    for x, y, words, across, up in sheet.texts():
        axes.text(x, y, words, ha=across, va=up, fontsize=NAME_POINTS, linespacing=1, **plain)
    figure.text(left / width, 1 - EDGE / height, title, va="top", fontsize=TITLE_POINTS, **plain)
    return figure
