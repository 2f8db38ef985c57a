"""Images of the report: every variant's samples of the same conditions and seed, and real data."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.conditions.rows import labels_in
from flowprior.display.shown import counted
from flowprior.errors import FlowpriorError
from flowprior.pictures import first_of_each, points, sample_grid
from flowprior.pictures.grid import is_drawable
from flowprior.pictures.saving import figure_bytes
from flowprior.study import evaluating
from flowprior.study.evaluating import conditions_of
from flowprior.study.folders import Collection
from flowprior.study.splits import Splits

FAVOURITE = 4
"""The number of evaluations whose images are open at first, where the grid has it."""
COLUMNS = 6
POINTS = 400
MOST_REAL = 2000
PANEL = 3.6
"""The side of a panel of points in inches."""
Samples = tuple[Tensor, Tensor | None]
"""Samples ``[N, *event]`` with their labels ``[N]``, embeddings ``[N, E]`` or None."""


def galleries(collection: Collection) -> list[dict[str, Any]]:
    """Return one gallery for each NFE of the first sampler; none without results, or of events without image.

    The pictures are the first samples of the file that the values were computed from, of the first seed.
    """
    try:
        test = Splits.of(collection.grid).test
    except FlowpriorError:
        return []  # The data are gone; every value is in the files.
    seed = collection.grid["seeds"][0]
    results = {label: collection.results[label] for label in collection.labels}
    files = {
        label: read_samples(collection.samples_file(label, seed), test.event_shape)
        for label, own in results.items()
        if seed in own and is_drawable(test.event_shape)
    }
    if not files:
        return []
    adaptive = {label for label in files if results[label][seed]["run"]["evaluations"][0]["adaptive"]}
    x, cond = test.batch(torch.arange(min(len(test), MOST_REAL)))
    real = (x, _shown(cond))
    real_data = draw(real, x, "Real examples", test.class_names)
    counts = sorted(next(iter(files.values())))
    shown = min(counts, key=lambda count: (count == 0, abs(count - FAVOURITE)))
    found = []
    for count in counts:
        pictures = {}
        for label, kept in files.items():
            # An adaptive sampler's samples are shown whatever it spent.
            nfe = max(kept) if label in adaptive and count else count
            if nfe in kept:
                text = f"Samples of {label} with {counted(nfe, 'evaluation')}"
                pictures[label] = draw(kept[nfe], real[0], text, test.class_names)
        title = counted(count, "evaluation") if count else "The prior alone, 0 evaluations"
        pictures["real data"] = real_data
        found.append({"title": f"{title}, seed {seed}", "open": count == shown, "pictures": pictures})
    return found


def read_samples(path: Path, event_shape: Sequence[int]) -> dict[int, Samples]:
    """Return evaluations spent -> the samples of the first call of a file that spent so many, of this shape.

    Raises:
        CheckpointError: the file is missing or corrupted.
    """
    tensors, spent = evaluating.read_samples(path, event_shape)
    return {
        n: (tensors[f"x/{name}"], _shown(conditions_of(tensors, name))) for name, n in reversed(spent.items())
    }


def _shown(cond: Conditions | None) -> Tensor | None:
    """Return what an image can show of conditions: a tensor, or the only labels of several parts."""
    return cond if isinstance(cond, Tensor) else labels_in(cond)


def draw(samples: Samples, real: Tensor, description: str, names: Sequence[str] | None = None) -> str:
    """Return an ``<img>`` of images, one row a label, or of points of the plane.

    Args:
        samples: what to draw; the first of each label are shown.
        real: real data ``[N, *event]``, which decide what part of the plane is seen.
        description: for those who cannot see it.
        names: of the classes.
    """
    x, cond = samples
    if x.dim() == 2:
        look, labels = "smooth", None if cond is None else cond[:POINTS]
        figure = points(x[:POINTS], labels, frame=real)
        # Nobody could read numbers and a legend in a card of two inches.
        axes, *others = figure.axes
        for thing in (*others, *figure.legends):
            thing.remove()
        axes.set_axis_off()
        figure.set_layout_engine("none")
        axes.set_position((0, 0, 1, 1))
        figure.set_size_inches(PANEL, PANEL)
    else:
        rows = first_of_each(cond, len(x), COLUMNS)
        look, labels = "pixels", None if cond is None or cond.is_floating_point() else cond[rows]
        figure = sample_grid(x[rows], labels, columns=COLUMNS, names=names)
    picture = figure_bytes(figure)
    width, height = struct.unpack_from(">II", picture, 16)  # Where a PNG file holds its size.
    source = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    size = f'class="{look}" width="{width}" height="{height}"'
    return f'<img {size} src="{source}" alt="{escape(description)}">'
