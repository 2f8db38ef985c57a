"""Pictures of generated samples: the same conditions and seed for every variant, real data beside them."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import torch
from torch import Tensor

from flowprior.data.base import Data
from flowprior.pictures import MODES, save_grid
from flowprior.report.styles import COLOURS
from flowprior.report.svg import FAINT, inline_svg, new_figure, series_colour
from flowprior.storage import load_tensors

COLUMNS = 6
MOST_LABELS = 10
UNLABELLED = 36
POINTS = 400
SIDE = 240
MOST_REAL = 2000


@dataclass(frozen=True)
class Samples:
    """Samples of one call.

    Attributes:
        x: ``[N, *event]``.
        cond: labels ``[N]``, embeddings ``[N, E]`` or None.
    """

    x: Tensor
    cond: Tensor | None


def read_samples(path: Path, nfe: int) -> Samples | None:
    """The samples of the first call that asked for ``nfe`` evaluations, or whose sampler chose so many.

    Raises:
        CheckpointError: the file is missing or corrupted.
    """
    tensors, metadata = load_tensors(path)
    spent = json.loads(metadata["nfe"])
    name = next((name for name, count in spent.items() if count == nfe), None)
    return None if name is None else Samples(tensors[f"x/{name}"], tensors.get(f"cond/{name}"))


def kept_counts(path: Path) -> list[int]:
    """What each call of a file of samples spent.

    Raises:
        CheckpointError: the file is missing or corrupted.
    """
    return list(json.loads(load_tensors(path)[1]["nfe"]).values())


def real_samples(data: Data) -> Samples:
    """The first events of a data set, with their conditions."""
    return Samples(*data.batch(torch.arange(min(len(data), MOST_REAL))))


def is_drawable(event_shape: Sequence[int]) -> bool:
    """Whether events are pictures or points in the plane."""
    return (len(event_shape) == 3 and event_shape[0] in MODES) or tuple(event_shape) == (2,)


def draw(samples: Samples, frame: Samples, name: str, description: str) -> str:
    """An ``<img>`` of pictures, one row a label, or an ``<svg>`` of points.

    Args:
        samples: what to draw.
        frame: real data, which decide what part of the plane is seen.
        name: unique in the page.
        description: for those who cannot see it.
    """
    if samples.x.dim() == 2:
        return _points(samples, frame.x, name, description)
    rows, columns = chosen_rows(samples.cond, len(samples.x))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "grid.png"
        save_grid(path, samples.x[rows], columns=columns)
        data = base64.b64encode(path.read_bytes()).decode()
        width, height = _size(path)
    source = f"data:image/png;base64,{data}"
    return f'<img src="{source}" width="{width}" height="{height}" alt="{escape(description, quote=True)}">'


def chosen_rows(cond: Tensor | None, count: int) -> tuple[Tensor, int]:
    """Which samples are drawn, and in how many columns: six of each of the first ten labels, else 36."""
    if cond is None or cond.is_floating_point():
        return torch.arange(min(count, UNLABELLED)), COLUMNS
    rows = [torch.nonzero(cond == label).flatten() for label in cond.unique()[:MOST_LABELS]]
    columns = min(COLUMNS, *map(len, rows))
    return torch.cat([row[:columns] for row in rows]), columns


def _points(samples: Samples, frame: Tensor, name: str, description: str) -> str:
    """Points of the plane, coloured by label."""
    x, cond = samples.x[:POINTS].double().numpy(), samples.cond
    labelled = cond is not None and not cond.is_floating_point()
    labels = cond[:POINTS] if labelled and cond is not None else torch.zeros(len(x), dtype=torch.long)
    figure = new_figure(SIDE, SIDE)
    axes = figure.add_axes((0, 0, 1, 1))
    for label in labels.unique().tolist():
        rows = (labels == label).numpy()
        colour = series_colour(label % COLOURS) if labelled else FAINT
        axes.scatter(x[rows, 0], x[rows, 1], s=6, color=colour, linewidths=0, alpha=0.8)
    low, high = frame.amin(0), frame.amax(0)
    middle, reach = (low + high) / 2, 0.58 * float((high - low).max())
    axes.set_xlim(float(middle[0]) - reach, float(middle[0]) + reach)
    axes.set_ylim(float(middle[1]) - reach, float(middle[1]) + reach)
    axes.set_axis_off()
    return inline_svg(figure, name, description)


def _size(path: Path) -> tuple[int, int]:
    from PIL import Image

    with Image.open(path) as picture:
        return picture.size
