"""Pictures of samples on the way: which conditions and starts are drawn, and when there is no picture."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor

from flowprior.data.base import Data
from flowprior.errors import CheckpointError
from flowprior.flow import Flow
from flowprior.pictures import GREY, save_grid, save_scatter
from flowprior.training.batches import probe_indices
from flowprior.training.config import TrainingConfig
from flowprior.training.randomness import Randomness
from flowprior.training.writing import writing

COLUMNS = 8
MOST_ROWS = 16
POINTS = 1024


class SamplePictures:
    """Draws the same starts at every step, so that pictures of one run can be compared.

    Args:
        data: the training set: which conditions there are, and what the real data look like.
        folder: RUN/samples.
        config: its seed and ``sample_nfe`` are used.
        device: of the flow.
    """

    def __init__(self, data: Data, folder: Path, config: TrainingConfig, device: torch.device) -> None:
        self.data, self.folder, self.config, self.device = data, folder, config, device

    def draw(self, flow: Flow, step: int) -> Path | None:
        """Write ``step-XXXXXX.png``; None for events that are neither images nor points in the plane."""
        if self.data.is_image:
            draw = self._grid
        elif tuple(self.data.event_shape) == (2,) and _has_matplotlib():
            draw = self._scatter
        else:
            return None
        path = self.folder / f"step-{step:06d}.png"
        with writing(path):
            try:
                draw(flow, path)
            except CheckpointError as error:  # "Choose another file" is no advice in a run.
                raise error.__cause__ or error from None
        return path

    def _grid(self, flow: Flow, path: Path) -> None:
        """One row a class, or rows of real conditions where there are no classes."""
        cond = self._grid_conditions()
        count = COLUMNS * COLUMNS if cond is None else len(cond)
        images = self._sample(flow, cond, count)
        shown = images[:, :3] if images.shape[1] >= 3 else images[:, :1]
        save_grid(path, shown, columns=COLUMNS, scale=1, gap=GREY)

    def _grid_conditions(self) -> Tensor | None:
        condition = self.data.condition
        if condition.kind == "labels":
            return torch.arange(min(condition.size, MOST_ROWS)).repeat_interleave(COLUMNS)
        return self.data.batch(probe_indices(len(self.data), COLUMNS * COLUMNS, self.config.seed))[1]

    def _scatter(self, flow: Flow, path: Path) -> None:
        x1, cond = self.data.batch(probe_indices(len(self.data), POINTS, self.config.seed))
        labels = cond if self.data.condition.kind == "labels" else None
        save_scatter(path, self._sample(flow, cond, len(x1)), labels, real=x1)

    def _sample(self, flow: Flow, cond: Tensor | None, count: int) -> Tensor:
        generator = Randomness(self.config.seed, self.device).generator("pictures")
        cond = None if cond is None else cond.to(self.device)
        count_or_none = count if cond is None else None
        samples = flow.sample(cond, count_or_none, nfe=self.config.sample_nfe, generator=generator)
        return samples.detach().float().cpu()


def _has_matplotlib() -> bool:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        warnings.warn(
            "pictures of points need matplotlib: pip install 'flowprior[plot]', or training.sample_every=0",
            RuntimeWarning,
            stacklevel=2,
        )
        return False
    return True
