"""The figures that a run draws of its samples: which conditions and source samples they show."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.conditions.rows import labels_in, moved
from flowprior.data.base import Data
from flowprior.display.shown import counted
from flowprior.errors import CheckpointError
from flowprior.flow import Flow
from flowprior.pictures.grid import beside, given_pictures
from flowprior.pictures.saving import save_figure
from flowprior.storage.writing import writing
from flowprior.training.batches import Randomness, probe_indices
from flowprior.training.config import TrainingConfig

COLUMNS = 8
"""The number of images in a row, one row a class, or in each of as many rows without classes."""
MOST_ROWS = 16
"""The largest number of classes that are shown."""
POINTS = 1024
"""The number of points in the plane."""


class SampleImages:
    """Draws the same source samples at every step, so that figures of one run can be compared.

    Args:
        data: the training set: which conditions there are, and what the real data look like.
        folder: RUN/samples.
        config: its seed and ``sample_nfe`` are used.
        device: of the flow.
    """

    def __init__(self, data: Data, folder: Path, config: TrainingConfig, device: torch.device) -> None:
        self.data, self.folder, self.config, self.device = data, folder, config, device

    def draw(self, flow: Flow, step: int) -> Path | None:
        """Write ``step-XXXXXX.png``; None for events that are neither images nor points in the plane.

        Images have one row a class, or rows of real conditions where there are no classes; points are drawn
        for the conditions of real points, which are grey underneath.
        """
        if not self.data.is_image and tuple(self.data.event_shape) != (2,):
            return None
        count, condition = COLUMNS**2 if self.data.is_image else POINTS, self.data.condition
        x1, cond = self.data.batch(probe_indices(len(self.data), count, self.config.seed))
        if self.data.is_image and condition.kind == "labels":
            cond = torch.arange(min(condition.size, MOST_ROWS)).repeat_interleave(COLUMNS)
        drawn = f"flow, {counted(self.config.sample_nfe, 'evaluation')}"
        panels = {"prior alone": self._sample(flow, cond, 0, len(x1))}
        panels[drawn] = self._sample(flow, cond, self.config.sample_nfe, len(x1))
        given = given_pictures(cond, self.data.event_shape) if self.data.is_image else None
        shown = panels if given is None else {"given": given, **panels}
        title, path = f"{self.data.name}, step {step}", self.folder / f"step-{step:06d}.png"
        figure = beside(
            {name: (_drawable_channels(x), labels_in(cond)) for name, x in shown.items()},
            columns=COLUMNS,
            real=x1,
            title=title,
            names=self.data.class_names,
        )
        with writing(path):
            try:
                save_figure(figure, path)
            except CheckpointError as error:  # "Choose another file" is no advice in a run.
                raise error.__cause__ or error from None
        return path

    def _sample(self, flow: Flow, cond: Conditions | None, nfe: int, count: int) -> Tensor:
        """Return samples of so many evaluations, from the same source samples at every call."""
        cond = moved(cond, self.device)
        generator = Randomness(self.config.seed, self.device).generator("pictures")
        rows = count if cond is None else len(cond)
        return flow.sample(cond, rows, nfe=nfe, generator=generator).float().cpu()


def _drawable_channels(x: Tensor) -> Tensor:
    """Return points as they are, and of images three channels, or the first."""
    if x.dim() == 2:
        return x
    return x[:, :3] if x.shape[1] >= 3 else x[:, :1]
