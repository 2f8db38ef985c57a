"""Images of the report: samples of every variant for the same conditions and seed, and real data."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from html import escape
from typing import Any

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.conditions.rows import labels_in
from flowprior.conditions.rows import rows as rows_of
from flowprior.display.shown import counted
from flowprior.errors import FlowpriorError
from flowprior.pictures import first_of_each, points, sample_grid
from flowprior.pictures.grid import is_drawable
from flowprior.pictures.saving import figure_bytes
from flowprior.samplers import Sampler
from flowprior.study.folder import Study, StudyFolder
from flowprior.study.measuring import load_flow
from flowprior.study.splits import Splits

FAVOURITE = 4
"""The number of evaluations whose images are open at first, where the grid has it."""
COLUMNS = 6
POINTS = 400
MOST_REAL = 2000
Samples = tuple[Tensor, Tensor | None]
"""Samples ``[N, *event]`` with their labels ``[N]``, embeddings ``[N, E]`` or None."""


def galleries(study: Study, folder: StudyFolder) -> list[dict[str, Any]]:
    """Return one gallery for each NFE; none without results, or of events without image.

    The flows of the first seed generate for the first test conditions, from source samples of that seed.
    """
    grid = study.plan.grid
    try:
        test = Splits.of(grid).test
    except FlowpriorError:
        return []  # the data are gone; every value is in the files
    seed = grid.seeds[0]
    made = [run for run in study.plan.runs() if run.seed == seed and seed in study.results[run.variant.label]]
    if not made or not is_drawable(test.event_shape):
        return []
    flows = {run: load_flow(folder.run(*run.place), None, "auto") for run in made}
    x, cond = test.batch(torch.arange(min(len(test), MOST_REAL)))
    rows = first_of_each(_shown(cond), len(x), COLUMNS) if x.dim() > 2 else torch.arange(min(len(x), POINTS))
    asked = rows_of(cond, rows)
    real = draw((x[rows], _shown(asked)), x, "Real examples", test.class_names)
    shown = min(grid.nfe, key=lambda count: (count == 0, abs(count - FAVOURITE)))
    found = []
    for count in sorted(grid.nfe):
        pictures = {}
        for run, flow in flows.items():
            sampler: Sampler = Sampler.registry.resolve(run.variant.specs[0])
            own = [row for row in study.results[run.variant.label][seed].rows if row.get("nfe") == count]
            if own or sampler.adaptive:
                nfe = None if sampler.adaptive and count else count
                generator = torch.Generator(flow.prior.event_dims.device).manual_seed(seed)
                options = {"sampler": sampler, "guidance": grid.guidance, "generator": generator}
                drawn = flow.sample(asked, len(rows), nfe=nfe, **options).cpu()
                text = f"Samples of {run.variant.label} with {counted(count, 'evaluation')}"
                pictures[run.variant.label] = draw((drawn, _shown(asked)), x, text, test.class_names)
        title = counted(count, "evaluation") if count else "The prior alone, 0 evaluations"
        pictures["real data"] = real
        found.append({"title": f"{title}, seed {seed}", "open": count == shown, "pictures": pictures})
    return found


def _shown(cond: Conditions | None) -> Tensor | None:
    """Return what an image can show of conditions: a tensor, or the only labels of several parts."""
    return cond if isinstance(cond, Tensor) else labels_in(cond)


def draw(samples: Samples, real: Tensor, description: str, names: Sequence[str] | None = None) -> str:
    """Return an ``<img>`` of images, one row a label, or of points of the plane.

    Args:
        samples: what to draw.
        real: real data ``[N, *event]``, which decide what part of the plane is seen.
        description: for those who cannot see it.
        names: of the classes.
    """
    x, cond = samples
    if x.dim() == 2:
        look, figure = "smooth", points(x, cond, frame=real)
    else:
        labels = None if cond is None or cond.is_floating_point() else cond
        look, figure = "pixels", sample_grid(x, labels, columns=COLUMNS, names=names)
    picture = figure_bytes(figure)
    width, height = struct.unpack_from(">II", picture, 16)  # Where a PNG file holds its size.
    source = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    size = f'class="{look}" width="{width}" height="{height}"'
    return f'<img {size} src="{source}" alt="{escape(description)}">'
