"""The line of progress, as a callback."""

from __future__ import annotations

from collections.abc import Mapping

from flowprior.progress import Stage
from flowprior.training.callbacks import Callback


class ProgressBar(Callback):
    """A line with the steps, the loss, steps a second and the time that is left.

    Args:
        step: where the run starts or resumes.
        steps: of the whole run.
        shown: False shows nothing.
    """

    def __init__(self, step: int, steps: int, shown: bool = True) -> None:
        self._line = Stage("train", steps, first=step, shown=shown, everywhere=True, kept=True)

    def on_step(self, step: int) -> None:
        self._line.update(step)

    def on_log(self, step: int, values: Mapping[str, float]) -> None:
        self._line.update(step, f"loss {values['loss']:.4g}")

    def on_end(self, step: int, status: str) -> None:
        self._line.stop()  # as it stands
