"""The figures that a run draws of its samples: which conditions and source samples they show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.conditions.rows import labels_in, moved
from flowprior.data.base import Data
from flowprior.errors import CheckpointError
from flowprior.flow import Flow
from flowprior.pictures.grid import beside, given_pictures
from flowprior.pictures.saving import save_figure
from flowprior.storage.writing import writing
from flowprior.training.batches import Randomness, probe_indices
from flowprior.training.config import TrainingConfig

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 8
MOST_ROWS = 16
POINTS = 1024


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
        self._evaluations = f"flow, {config.sample_nfe} evaluation{'s' * (config.sample_nfe != 1)}"

    def draw(self, flow: Flow, step: int) -> Path | None:
        """Write ``step-XXXXXX.png``; None for events that are neither images nor points in the plane."""
        if not self.data.is_image and tuple(self.data.event_shape) != (2,):
            return None
        draw = self._images if self.data.is_image else self._points
        figure = draw(flow, title=f"{self.data.name}, step {step}", names=self.data.class_names)
        path = self.folder / f"step-{step:06d}.png"
        with writing(path):
            try:
                save_figure(figure, path)
            except CheckpointError as error:  # "Choose another file" is no advice in a run.
                raise error.__cause__ or error from None
        return path

    def _images(self, flow: Flow, **words: Any) -> Figure:
        """Draw one row a class, or rows of real conditions where there are no classes."""
        condition = self.data.condition
        if condition.kind == "labels":
            cond = torch.arange(min(condition.size, MOST_ROWS)).repeat_interleave(COLUMNS)
        else:
            cond = self.data.batch(probe_indices(len(self.data), COLUMNS * COLUMNS, self.config.seed))[1]
        source, x = self._sample(flow, cond, COLUMNS * COLUMNS if cond is None else len(cond))
        labels = cond if isinstance(cond, Tensor) else labels_in(cond)
        given = given_pictures(cond, self.data.event_shape)
        panels = {"given": given, "prior alone": source, self._evaluations: x}
        shown = {name: (_shown(own), labels) for name, own in panels.items() if own is not None}
        return beside(shown, columns=COLUMNS, **words)

    def _points(self, flow: Flow, **words: Any) -> Figure:
        """Draw source samples and samples for the conditions of real points, which are grey underneath."""
        x1, cond = self.data.batch(probe_indices(len(self.data), POINTS, self.config.seed))
        labels = labels_in(cond)
        source, x = self._sample(flow, cond, len(x1))
        panels = {"prior alone": (source, labels), self._evaluations: (x, labels)}
        return beside(panels, real=x1, **words)

    def _sample(self, flow: Flow, cond: Conditions | None, count: int) -> tuple[Tensor, Tensor]:
        """Source samples, and what the flow makes of them."""
        cond = moved(cond, self.device)
        seeds = Randomness(self.config.seed, self.device)
        source, x = (
            flow.sample(cond, count, nfe=nfe, generator=seeds.generator("pictures")).float().cpu()
            for nfe in (0, self.config.sample_nfe)
        )
        return source, x


def _shown(x: Tensor) -> Tensor:
    """Return the channels that an image can show: three, or the first."""
    return x[:, :3] if x.shape[1] >= 3 else x[:, :1]
