"""Arrays to pictures: images and points, trajectories, densities, forecasts, quality; animations of a flow.

Every function but :func:`animate` returns a ``matplotlib.figure.Figure`` that belongs to no window and no
back end of the user's; :func:`save_figure` writes it. Pictures know arrays alone: neither flow nor result.
"""

import warnings
from pathlib import Path

from torch import Tensor

from flowprior.pictures.animation import animate, check_animation, save_animation
from flowprior.pictures.beside import beside, check_drawable, is_drawable
from flowprior.pictures.densities import densities
from flowprior.pictures.fans import fans
from flowprior.pictures.given import given_pictures
from flowprior.pictures.grid import first_of_each, image_panels, sample_grid
from flowprior.pictures.points import point_panels, points
from flowprior.pictures.quality import quality
from flowprior.pictures.saving import SUFFIXES, figure_bytes, save_figure
from flowprior.pictures.stages import stages
from flowprior.pictures.trajectories import trajectories, trajectory_panels

__all__ = [
    "SUFFIXES",
    "animate",
    "beside",
    "check_animation",
    "check_drawable",
    "densities",
    "fans",
    "figure_bytes",
    "first_of_each",
    "given_pictures",
    "image_panels",
    "is_drawable",
    "point_panels",
    "points",
    "quality",
    "sample_grid",
    "save_animation",
    "save_figure",
    "save_grid",
    "save_picture",
    "save_scatter",
    "stages",
    "trajectories",
    "trajectory_panels",
]

# -- names of the last release: they draw and save in one call, and will be removed in the next ---


def save_picture(path: Path | str, x: Tensor, cond: Tensor | None = None) -> None:
    """Deprecated: ``save_figure(beside({"": (x, cond)}), path)``."""
    _warn("save_picture(path, x, cond)", 'save_figure(beside({"": (x, cond)}), path)')
    save_figure(beside({"": (x, cond)}), path)


def save_grid(path: Path | str, x: Tensor, cond: Tensor | None = None, *, columns: int | None = None) -> None:
    """Deprecated: ``save_figure(sample_grid(x, cond), path)``."""
    _warn("save_grid(path, x, cond)", "save_figure(sample_grid(x, cond), path)")
    save_figure(sample_grid(x, cond, columns=columns), path)


def save_scatter(
    path: Path | str, x: Tensor, cond: Tensor | None = None, *, real: Tensor | None = None
) -> None:
    """Deprecated: ``save_figure(points(x, cond, real=real), path)``."""
    _warn("save_scatter(path, x, cond)", "save_figure(points(x, cond), path)")
    save_figure(points(x, cond, real=real), path)


def _warn(old: str, new: str) -> None:
    warnings.warn(
        f"{old} goes with the next release; use {new} of flowprior.pictures",
        FutureWarning,
        stacklevel=3,
    )
