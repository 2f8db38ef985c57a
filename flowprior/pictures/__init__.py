"""Arrays to pictures: labelled grids of images, points of the plane, and several of either beside each other.

Every function returns a ``matplotlib.figure.Figure`` that belongs to no window and no back end of the user's;
:func:`save_figure` writes it. Pictures know arrays alone: neither flow nor result.
"""

from flowprior.pictures.beside import beside, check_drawable, is_drawable
from flowprior.pictures.grid import first_of_each, image_panels, sample_grid
from flowprior.pictures.old_names import save_grid, save_picture, save_scatter
from flowprior.pictures.points import point_panels, points
from flowprior.pictures.saving import SUFFIXES, figure_bytes, save_figure

__all__ = [
    "SUFFIXES",
    "beside",
    "check_drawable",
    "figure_bytes",
    "first_of_each",
    "image_panels",
    "is_drawable",
    "point_panels",
    "points",
    "sample_grid",
    "save_figure",
    "save_grid",
    "save_picture",
    "save_scatter",
]
