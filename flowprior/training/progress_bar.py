"""The bar on stderr, as a callback."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from flowprior.training.callbacks import Callback, TrainingStart


class ProgressBar(Callback):
    """A bar with loss, steps a second and the time that is left, on stderr.

    Args:
        steps: of the whole run.
        shown: False shows nothing.
    """

    def __init__(self, steps: int, shown: bool = True) -> None:
        self._bar = Progress(
            TextColumn("train"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[report]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not shown,
        )
        self._task = self._bar.add_task("train", total=steps, report="")

    def on_start(self, start: TrainingStart) -> None:
        self._bar.update(self._task, completed=start.step)
        self._bar.start()

    def on_step(self, step: int) -> None:
        self._bar.update(self._task, completed=step)

    def on_log(self, step: int, values: Mapping[str, float]) -> None:
        report = f"loss {values['loss']:.4g} {values['steps_per_second']:.3g} steps/s"
        self._bar.update(self._task, report=report)

    def on_end(self, step: int, status: str) -> None:
        self.close()

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.stop()
