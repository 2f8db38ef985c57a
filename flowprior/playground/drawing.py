"""The stages of some samples as labelled pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowprior.flow.showing import Stages
from flowprior.pictures import point_panels, points, sample_grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from flowprior.pictures.points import Panel

PICTURES = {
    "prior mean": "Prior mean",
    "prior samples": "Prior samples",
    "trajectory": "Trajectory, from t = 0 to t = 1",
    "result": "Result",
}
"""Name of each picture, and what stands above it."""


def draw_stages(found: Stages) -> dict[str, Figure]:
    """One figure for each of :data:`PICTURES`: of images, or of points of the plane.

    In the rows of images, a sample stands in the same column of every picture.

    Raises:
        InputError: events that cannot be drawn.
    """
    return _images(found) if found.states.dim() == 5 else _points(found)


def _images(found: Stages) -> dict[str, Figure]:
    columns, names = found.states.shape[1], times_in_words(found.times)
    places = torch.arange(len(found.times)).repeat_interleave(columns)
    return {
        "prior mean": sample_grid(found.mean, columns=columns),
        "prior samples": sample_grid(found.source, columns=columns),
        "trajectory": sample_grid(found.states.flatten(0, 1), places, columns=columns, names=names),
        "result": sample_grid(found.result, columns=columns),
    }


def _points(found: Stages) -> dict[str, Figure]:
    seen: Tensor = torch.cat([found.mean, found.states.flatten(0, 1)])
    times = times_in_words(found.times)
    panels: dict[str, Panel] = {name: (x, None) for name, x in zip(times, found.states, strict=True)}
    return {
        "prior mean": points(found.mean, frame=seen),
        "prior samples": points(found.source, frame=seen),
        "trajectory": point_panels(panels, frame=seen),
        "result": points(found.result, frame=seen),
    }


def times_in_words(times: list[float]) -> list[str]:
    """``t = 0.25`` for each time."""
    return [f"t = {time:.3g}" for time in times]
