"""A sheet of images: blocks beside each other, rows across them, and the names of both; one dot a pixel."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from flowprior.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 100
"""Dots of a figure in an inch."""
NAME_POINTS, TITLE_POINTS = 9, 11
"""The sizes of names and titles, in points."""
LETTER, LINE = 7, 14
"""The width of a letter and the height of a line of a name, about, in pixels."""
LONGEST_NAME = 16
"""The largest number of letters in a line of a row's name."""
MOST_LINES = 3
"""The largest number of lines of a name."""
GAP, BLOCK_GAP, EDGE = 1, 20, 8
"""Pixels around an image's frame, between blocks, and around the sheet."""
MOST_PIXELS = 2**15
"""The largest side of a canvas, in pixels; matplotlib draws figures of less than 2^16."""
WHITE, FRAME = 255, 200
"""The brightness of the paper and of frames."""


def class_name(label: int, names: Sequence[str] | None) -> str:
    """Return the name of a class, or its number where it has none."""
    return names[label] if names is not None and 0 <= label < len(names) else str(label)


def drawable(text: str) -> str:
    """Return the text, with an escape such as ``\\u732b`` in place of each letter that the font lacks."""
    if text.isascii() and text.isprintable():
        return text
    from matplotlib.font_manager import FontProperties, findfont, get_font

    letters = get_font(str(findfont(FontProperties()))).get_charmap()
    return "".join(c if c == "\n" or ord(c) in letters else ascii(c)[1:-1] for c in text)


def clipped(text: str, letters: int) -> str:
    """Return the text as the font can show it, with an ellipsis in place of what is beyond ``letters``."""
    text = drawable(text)
    return text if len(text) <= letters else text[: letters - 1] + "…"


def wrapped(name: str, letters: int) -> str:
    """Return a name in at most three lines of so many letters."""
    lines = textwrap.wrap(drawable(" ".join(name.split())), letters)
    return "\n".join([*lines[: MOST_LINES - 1], clipped(" ".join(lines[MOST_LINES - 1 :]), letters)]).strip()


class Block(NamedTuple):
    """Images under one name.

    Attributes:
        name: the text above the block; may be empty.
        rows: the images of each row, bytes ``[n, 3, H, W]``, of one size in all blocks.
        columns: the number of images in a line; a row of more takes several lines.
    """

    name: str
    rows: list[Tensor]
    columns: int


class Sheet(NamedTuple):
    """All images on one canvas, and the words around them.

    Attributes:
        canvas: images on white, each in a thin grey frame: bytes ``[height, width, 3]``.
        row_names: the height of the middle of each row's first line, and the row's name.
        block_names: the left side of each block, and the block's name.
    """

    canvas: Tensor
    row_names: list[tuple[float, str]]
    block_names: list[tuple[int, str]]


def sheet_of(blocks: Sequence[Block], row_names: Sequence[str]) -> Sheet:
    """Put blocks beside each other, rows across them, and the names of both.

    Args:
        blocks: each with as many rows as there are ``row_names``.
        row_names: the text at the left of each row's first line.

    Raises:
        InputError: a side of more pixels than a figure can have.
    """
    tall, wide = (side + 2 * (1 + GAP) for side in blocks[0].rows[0].shape[2:])
    lines = [
        max(-(-len(block.rows[row]) // block.columns) for block in blocks) for row in range(len(row_names))
    ]
    height, width = sum(lines) * tall, sum(block.columns for block in blocks) * wide
    if max(height, width) > MOST_PIXELS:
        raise InputError(
            f"picture: so many images make {width:,} x {height:,} pixels, more than a picture can hold; draw "
            "fewer, or write an .npz or .pt file instead"
        )
    tops = accumulate(lines, initial=0)
    beside = [
        (top * tall + tall / 2, wrapped(name, LONGEST_NAME))
        for top, name in zip(tops, row_names, strict=False)
    ]
    lefts = accumulate((block.columns * wide + BLOCK_GAP for block in blocks), initial=0)
    above = [
        (left, wrapped(block.name, max(block.columns * wide // LETTER, 8)))
        for left, block in zip(lefts, blocks, strict=False)
    ]
    grids = [pad(_grid(block, lines), (0, BLOCK_GAP), value=WHITE) for block in blocks]
    return Sheet(torch.cat(grids, 2)[:, :, :-BLOCK_GAP].permute(1, 2, 0), beside, above)


def _grid(block: Block, lines: Sequence[int]) -> Tensor:
    """Return the images of a block ``[3, height, width]``, with white where a row has fewer."""
    rows = []
    for images, count in zip(block.rows, lines, strict=True):
        framed = pad(pad(images, (1,) * 4, value=FRAME), (GAP,) * 4, value=WHITE)
        missing = count * block.columns - len(images)
        rows.append(pad(framed, (0, 0, 0, 0, 0, 0, 0, missing), value=WHITE))
    images = torch.cat(rows).unflatten(0, (-1, block.columns))  # [lines, columns, 3, H, W]
    return images.permute(2, 0, 3, 1, 4).flatten(3).flatten(1, 2)


def draw_sheet(sheet: Sheet, title: str = "") -> Figure:
    """Return the sheet as a figure of one dot a pixel, as large as its names and title need it."""
    from matplotlib.figure import Figure

    height, width = sheet.canvas.shape[:2]
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.imshow(sheet.canvas.numpy(), interpolation="nearest", aspect="auto", extent=(0, width, height, 0))
    plain: Any = {"color": "black", "parse_math": False}  # A user's name is no formula.
    for y, name in sheet.row_names:
        axes.text(-EDGE, y, name, ha="right", va="center", fontsize=NAME_POINTS, linespacing=1, **plain)
    for x, name in sheet.block_names:
        axes.text(x, -EDGE / 2, name, va="bottom", fontsize=NAME_POINTS, linespacing=1, **plain)
    names = max((LINE * len(name.splitlines()) for _, name in sheet.block_names), default=0)
    at: Any = {"va": "bottom", "fontsize": TITLE_POINTS, "transform": axes.transData}
    figure.text(0, -EDGE - names, drawable(title), **at, **plain)
    _fit(figure)
    return figure


def _fit(figure: Figure) -> None:
    """Make a figure as large as all that is drawn, with an edge around, and leave its axes their size."""
    box, (axes,) = figure.get_tightbbox(), figure.axes  # in inches
    left, bottom, right, top = (round(DPI * side) for side in box.extents)
    width, height = right - left + 2 * EDGE, top - bottom + 2 * EDGE
    across, up = (round(DPI * side) for side in figure.get_size_inches())
    figure.set_size_inches(width / DPI, height / DPI)
    place = (EDGE - left) / width, (EDGE - bottom) / height, across / width, up / height
    axes.set_position(place)
