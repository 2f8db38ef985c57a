"""Pictures of samples on the way: a grid for images, a scatter plot for points in the plane."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor

from flowprior.data.base import Data
from flowprior.flow import Flow
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
        path = self.folder / f"step-{step:06d}.png"
        with writing(path):
            if self.data.is_image:
                self._grid(flow, path)
            elif tuple(self.data.event_shape) == (2,) and _has_matplotlib():
                self._scatter(flow, path)
            else:
                return None
        return path

    def _grid(self, flow: Flow, path: Path) -> None:
        """One row a class, or rows of real conditions where there are no classes."""
        cond = self._grid_conditions()
        count = COLUMNS * COLUMNS if cond is None else len(cond)
        save_grid(self._sample(flow, cond, count), path)

    def _grid_conditions(self) -> Tensor | None:
        condition = self.data.condition
        if condition.kind == "labels":
            return torch.arange(min(condition.size, MOST_ROWS)).repeat_interleave(COLUMNS)
        return self.data.batch(probe_indices(len(self.data), COLUMNS * COLUMNS, self.config.seed))[1]

    def _scatter(self, flow: Flow, path: Path) -> None:
        x1, cond = self.data.batch(probe_indices(len(self.data), POINTS, self.config.seed))
        labels = cond if self.data.condition.kind == "labels" else None
        save_scatter(x1, self._sample(flow, cond, len(x1)), labels, path)

    def _sample(self, flow: Flow, cond: Tensor | None, count: int) -> Tensor:
        generator = Randomness(self.config.seed, self.device).generator("pictures")
        cond = None if cond is None else cond.to(self.device)
        count_or_none = count if cond is None else None
        samples = flow.sample(cond, count_or_none, nfe=self.config.sample_nfe, generator=generator)
        return samples.detach().float().cpu()


def save_grid(images: Tensor, path: Path, columns: int = COLUMNS) -> None:
    """Write images ``[N, C, H, W]`` in [-1, 1] as one picture with ``columns`` a row."""
    from torchvision.utils import make_grid, save_image

    path.parent.mkdir(parents=True, exist_ok=True)
    shown = images[:, :3] if images.shape[1] >= 3 else images[:, :1]
    save_image(make_grid((shown.clamp(-1, 1) + 1) / 2, nrow=columns, pad_value=0.5), path)


def save_scatter(real: Tensor, samples: Tensor, labels: Tensor | None, path: Path) -> None:
    """Write real points ``[N, 2]`` in grey under ``samples`` ``[N, 2]``, coloured by label ``[N]``."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path.parent.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(5, 5))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.scatter(*real.cpu().T.numpy(), s=3, color="0.8", label="data")
    colours = "tab:blue" if labels is None else labels.cpu().numpy()
    axes.scatter(
        *samples.T.numpy(), s=3, c=colours, cmap="tab10" if labels is not None else None, label="samples"
    )
    axes.set_aspect("equal")
    axes.legend(loc="upper right")
    figure.savefig(path, dpi=120)


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
