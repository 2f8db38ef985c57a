"""Arrays to pictures: images and points, trajectories, densities, quality; animations of a flow.

Every function but :func:`animate` returns a ``matplotlib.figure.Figure`` that belongs to no window and no
back end of the user's; :func:`save_figure` writes it. All but :mod:`~flowprior.pictures.run_samples` know
arrays alone, neither flow nor result.
"""

from flowprior.pictures.grid import beside, first_of_each, given_pictures, sample_grid
from flowprior.pictures.points import densities, points
from flowprior.pictures.quality import quality
from flowprior.pictures.saving import save_figure
from flowprior.pictures.trajectories import animate, save_animation, trajectories, trajectory_panels

__all__ = [
    "animate",
    "beside",
    "densities",
    "first_of_each",
    "given_pictures",
    "points",
    "quality",
    "sample_grid",
    "save_animation",
    "save_figure",
    "trajectories",
    "trajectory_panels",
]
