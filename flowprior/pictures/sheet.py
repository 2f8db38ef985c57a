"""A sheet of images: blocks beside each other, rows across them, and the names of both; one dot a pixel."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from flowprior.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 100
NAME_POINTS, TITLE_POINTS = 9, 11
MOST_LINES = 3


def class_name(label: int, names: Sequence[str] | None) -> str:
    """The name of a class, or its number where it has none."""
    return names[label] if names is not None and 0 <= label < len(names) else str(label)


def drawable(text: str) -> str:
    """The text, with an escape such as ``\\u732b`` in place of each letter that the font lacks."""
    if text.isascii() and text.isprintable():
        return text
    from matplotlib.font_manager import FontProperties, findfont, get_font

    letters = get_font(str(findfont(FontProperties()))).get_charmap()
    return "".join(c if c == "\n" or ord(c) in letters else ascii(c)[1:-1] for c in text)


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
GAP, BLOCK_GAP, EDGE = 2, 20, 8
"""Pixels between the frames of images, between blocks, and around the sheet."""
MOST_PIXELS = 2**16 - 1
"""The largest side of a figure, in pixels."""
WHITE, FRAME = 255, 200


class Block(NamedTuple):
    """Images under one name.

    Attributes:
        name: what stands above the block; may be empty.
        rows: bytes ``[n, 3, H, W]`` of each row of the sheet, of any n.
        columns: images in a line; a row of more takes several lines.
    """

    name: str
    rows: list[Tensor]
    columns: int


class Sheet(NamedTuple):
    """All images on one canvas, and the words around them.

    Attributes:
        canvas: images on white, each in a thin grey frame: bytes ``[height, width, 3]``.
        texts: place across and down in pixels of the canvas, words, and which side of them stands there.
    """

    canvas: Tensor
    texts: list[tuple[float, float, str, str, str]]


def sheet_of(blocks: Sequence[Block], row_names: Sequence[str], captions: Sequence[str]) -> Sheet:
    """Put blocks beside each other, rows across them, and the names of both.

    Args:
        blocks: each with as many rows as there are ``row_names``.
        row_names: what stands at the left of each row's first line.
        captions: what stands above each image of the first row of the first block.

    Raises:
        InputError: a side of more pixels than a figure can have.
    """
    captions = [wrapped(caption, LONGEST_NAME) for caption in captions]
    sizes = [text_size(caption) for caption in captions]
    height, width = (side + 2 for side in blocks[0].rows[0].shape[2:])
    above = max((size[1] + GAP for size in sizes), default=0)
    across, down = max([width, *(size[0] for size in sizes)]) + GAP, height + above + GAP
    lines = [
        max(-(-len(block.rows[row]) // block.columns) for block in blocks) for row in range(len(row_names))
    ]
    tall, wide = sum(lines) * down, sum(block.columns for block in blocks) * across
    if max(tall, wide) > MOST_PIXELS // 2:
        raise InputError(
            f"picture: so many images make {wide:,} x {tall:,} pixels, more than a picture can hold; draw "
            "fewer, or write an .npz or .pt file instead"
        )

    canvases, texts, left = [], [], 0
    for top, name in zip(accumulate(lines, initial=0), row_names, strict=False):
        middle = GAP + top * down + above + height / 2
        texts.append((-EDGE, middle, wrapped(name, LONGEST_NAME), "right", "center"))
    for block in blocks:
        name = wrapped(block.name, max(block.columns * across // LETTER, 8))
        grid = _grid(block, lines, across - GAP - width, above)
        grid = pad(grid, (0, max(text_size(name)[0] - grid.shape[2], 0) + BLOCK_GAP), value=WHITE)
        texts.append((left, -EDGE / 2, name, "left", "bottom"))
        left += grid.shape[2]
        canvases.append(grid)
    for number, caption in enumerate(captions):
        line, column = divmod(number, blocks[0].columns)
        middle = GAP + column * across + (across - GAP) / 2
        texts.append((middle, GAP + line * down + above - GAP, caption, "center", "bottom"))
    return Sheet(torch.cat(canvases, 2)[:, :, :-BLOCK_GAP].permute(1, 2, 0), texts)


def _grid(block: Block, lines: Sequence[int], beside: int, above: int) -> Tensor:
    """The images of a block ``[3, height, width]``, so many lines a row, with white where a row has fewer."""
    from torchvision.utils import make_grid

    rows = []
    for images, count in zip(block.rows, lines, strict=True):
        framed = pad(images, (1, 1, 1, 1), value=FRAME)
        captioned = pad(framed, (beside // 2, -(-beside // 2), above, 0), value=WHITE)
        missing = count * block.columns - len(images)
        rows.append(pad(captioned, (0, 0, 0, 0, 0, 0, 0, missing), value=WHITE))
    images = torch.cat(rows)
    if len(images) == 1:  # around which make_grid leaves nothing
        return pad(images[0], (GAP,) * 4, value=WHITE)
    return make_grid(images, nrow=block.columns, padding=GAP, pad_value=WHITE)


def draw_sheet(sheet: Sheet, title: str = "") -> Figure:
    """The sheet as a figure of one dot a pixel, under its title."""
    from matplotlib.figure import Figure

    canvas, title = sheet.canvas, drawable(title)
    left = EDGE + max(
        (text_size(words)[0] + EDGE for x, _, words, *_ in sheet.texts if x < 0 and words), default=0
    )
    heading = text_size(title, TITLE_POINTS)
    names = max(text_size(words)[1] for _, y, words, *_ in sheet.texts if y < 0)
    top = EDGE + (heading[1] + EDGE) * bool(title) + names
    height, width = canvas.shape[0] + top + EDGE, max(canvas.shape[1], heading[0]) + left + EDGE
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    axes = figure.add_axes((left / width, EDGE / height, canvas.shape[1] / width, canvas.shape[0] / height))
    axes.set_axis_off()
    axes.imshow(
        canvas.numpy(),
        interpolation="nearest",
        aspect="auto",
        extent=(0, canvas.shape[1], canvas.shape[0], 0),
    )
    plain: dict[str, Any] = {"color": "black", "parse_math": False}  # A user's name is no formula.
    for x, y, words, across, up in sheet.texts:
        axes.text(x, y, words, ha=across, va=up, fontsize=NAME_POINTS, linespacing=1, **plain)
    figure.text(left / width, 1 - EDGE / height, title, va="top", fontsize=TITLE_POINTS, **plain)
    return figure
