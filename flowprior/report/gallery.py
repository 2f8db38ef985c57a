"""The pictures of the report: every variant's samples of the same conditions and seed, and real data."""

from __future__ import annotations

import base64
import json
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from flowprior.data.base import Data
from flowprior.errors import FlowpriorError
from flowprior.pictures import figure_bytes, first_of_each, is_drawable, points, sample_grid
from flowprior.report.wording import evaluations
from flowprior.storage import load_tensors
from flowprior.study.cell_file import Collection
from flowprior.study.splits import Splits

FAVOURITE = 4
"""The number of evaluations whose pictures are open at first, where the grid has it."""
COLUMNS = 6
POINTS = 400
MOST_REAL = 2000
PNG_SIZE = slice(16, 24)
"""Where a PNG file holds its width and height, four bytes each."""


class Samples(NamedTuple):
    """Samples ``[N, *event]`` with their labels ``[N]``, embeddings ``[N, E]`` or None."""

    x: Tensor
    cond: Tensor | None


def galleries(collection: Collection) -> list[dict[str, Any]]:
    """One gallery for each NFE of the first sampler; none without results or of events without a picture.

    The pictures are the first samples of the file that the values were computed from, of the first seed.
    """
    try:
        test = Splits.of(collection.grid).test
    except FlowpriorError:
        return []  # The data are gone; every value is still there.
    seed = collection.grid["seeds"][0]
    labels = [label for label in collection.labels if seed in collection.results[label]]
    if not labels or not is_drawable(test.event_shape):
        return []
    files = {label: read_samples(collection.samples_file(label, seed)) for label in labels}
    adaptive = {
        label: collection.results[label][seed]["run"]["evaluations"][0]["adaptive"] for label in labels
    }
    counts = sorted(files[labels[0]])
    shown = min(counts, key=lambda count: (count == 0, abs(count - FAVOURITE)))
    found = []
    for count in counts:
        # An adaptive sampler's samples are shown whatever it spent.
        spent = {label: max(kept) if adaptive[label] and count else count for label, kept in files.items()}
        chosen = {label: (files[label][nfe], nfe) for label, nfe in spent.items() if nfe in files[label]}
        title = evaluations(count, False) if count else "the prior alone, 0 evaluations"
        found.append(
            {
                "title": f"{title}, seed {seed}".capitalize(),
                "open": count == shown,
                "pictures": _pictures(chosen, test),
            }
        )
    return found


def _pictures(chosen: dict[str, tuple[Samples, int]], test: Data) -> list[dict[str, str]]:
    """The samples of each variant, then real data."""
    real = Samples(*test.batch(torch.arange(min(len(test), MOST_REAL))))
    texts = {
        label: f"Samples of {label} with {evaluations(nfe, False)}" for label, (_, nfe) in chosen.items()
    }
    images = {label: draw(samples, real, texts[label], test) for label, (samples, _) in chosen.items()}
    images["real data"] = draw(real, real, "Real examples", test)
    return [{"label": label, "image": image} for label, image in images.items()]


def read_samples(path: Path) -> dict[int, Samples]:
    """Evaluations spent -> the samples of the first call of a file that spent so many.

    Raises:
        CheckpointError: the file is missing or corrupted.
    """
    tensors, metadata = load_tensors(path)
    spent: dict[str, int] = json.loads(metadata["nfe"])
    return {
        count: Samples(tensors[f"x/{name}"], tensors.get(f"cond/{name}"))
        for name, count in reversed(spent.items())
    }


def draw(samples: Samples, real: Samples, description: str, data: Data | None = None) -> str:
    """An ``<img>`` of images, one row a label, or of points of the plane.

    Args:
        samples: what to draw; the first of each label are shown.
        real: real data, which decide what part of the plane is seen.
        description: for those who cannot see it.
        data: gives the names of the classes.
    """
    names = None if data is None else data.class_names
    x, cond = samples
    if x.dim() == 2:
        figure = points(x[:POINTS], None if cond is None else cond[:POINTS], names=names, frame=real.x)
    else:
        rows = first_of_each(cond, len(x), COLUMNS)
        labels = None if cond is None or cond.is_floating_point() else cond[rows]
        figure = sample_grid(x[rows], labels, columns=COLUMNS, names=names)
    picture = figure_bytes(figure)
    size = picture[PNG_SIZE]
    width, height = int.from_bytes(size[:4]), int.from_bytes(size[4:])
    source = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    return f'<img src="{source}" width="{width}" height="{height}" alt="{escape(description, quote=True)}">'
