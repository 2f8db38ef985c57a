"""Prior mean, prior samples, flow samples and data beside each other, condition by condition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flowprior.pictures.beside import check_drawable
from flowprior.pictures.grid import Panel, image_panels
from flowprior.pictures.plane import add_legend, check_points, coordinates, plane_axes
from flowprior.pictures.points import scatter, scatter_real

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CROSS: dict[str, Any] = {"marker": "X", "s": 70, "c": "black", "edgecolors": "white", "linewidths": 0.8}


def stages(
    mean: Panel,
    source: Panel,
    samples: Panel,
    data: Panel | None = None,
    *,
    names: Sequence[str] | None = None,
    title: str = "",
    columns: int | None = None,
) -> Figure:
    """What a flow makes of its prior: the prior's mean, its samples, the flow's samples, and data.

    Images stand in rows of classes, one block a stage. Of points of the plane the means are crosses on the
    prior's samples, and the data are grey under both clouds.

    Args:
        mean: of the prior ``[K, *event]``, one of each class, and the labels ``[K]``; None for labels of a
            flow without a condition.
        source: samples of the prior ``[N, *event]`` and their labels ``[N]``, as ``flow.sample(c, nfe=0)``.
        samples: of the flow ``[N, *event]`` and their labels.
        data: real events ``[M, *event]`` and their labels.
        names: of the classes; by default their numbers.
        title: of the picture.
        columns: images of a block in a line.

    Raises:
        InputError: events that are neither images nor points of the plane.
    """
    check_drawable(mean[0].shape[1:])
    if mean[0].dim() == 4:
        panels = {"prior mean": mean, "prior samples": source, "flow samples": samples}
        panels |= {} if data is None else {"data": data}
        return image_panels(panels, columns=columns, names=names, title=title)
    real = [] if data is None else [data[0]]
    clouds = [mean[0], source[0], samples[0], *real]
    check_points(*clouds)
    figure, places = plane_axes(["prior: mean and samples", "flow samples"], title, clouds)
    for axes, (x, cond) in zip(places, (source, samples), strict=True):
        scatter_real(axes, real[0] if real else None)
        scatter(axes, x, cond, names)
    _cross(places[0], mean)
    add_legend(figure, places)
    return figure


def _cross(axes: Axes, mean: Panel) -> None:
    """The means, over everything else."""
    axes.scatter(*coordinates(mean[0]), label="prior mean", zorder=3, **CROSS)
