"""Tells the callbacks of a run what happens: metrics.jsonl, the progress bar, and those that are given."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from flowprior.encoding import pictures_of
from flowprior.errors import TrainingDiverged
from flowprior.registry.plugins import load_point
from flowprior.training.callbacks import Callback, MetricsFile, ProgressBar, TrainingStart
from flowprior.training.interrupt import TrainingInterrupted
from flowprior.training.optimiser import learning_rate_factor
from flowprior.training.run import RunDirectory
from flowprior.training.state import TrainingState


class Monitor:
    """Says what happens in a run to each of its callbacks; a context.

    Args:
        state: standing at the step where the run starts or resumes.
        run: where files go; None writes none.
        progress: show how far it has come.
        callbacks: told after the bar and metrics.jsonl.
    """

    def __init__(
        self,
        state: TrainingState,
        run: RunDirectory | None,
        progress: bool,
        callbacks: Iterable[Callback] = (),
    ) -> None:
        self._state = state
        self._metrics = MetricsFile(run.metrics if run else None, state.step)
        bar = ProgressBar(state.step, state.config.steps, shown=progress)
        self._callbacks: list[Callback] = [bar, self._metrics, *callbacks]
        self._started: list[Callback] = []
        parts = state.parts
        shown = pictures_of(parts.data)
        self._images: Any = None
        if run is not None:
            images = load_point("flowprior.hooks", "sample-images", "train")
            self._images = images(shown, run.samples, state.config, parts.device)
        self._start = TrainingStart(parts.config, state.step, run.path if run else None)
        self._watch = Stopwatch(state.step)

    def __enter__(self) -> Monitor:
        try:
            for callback in self._callbacks:
                callback.on_start(self._start)
                self._started.append(callback)
        except BaseException as error:
            self._end(error)
            raise
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._end(error)

    def note(self, step: int, kind: str, **values: Any) -> None:
        """Write one line of metrics that is none of a callback's."""
        self._metrics.write(step, kind, **values)

    def advance(self, step: int) -> None:
        """``step`` steps are done."""
        for callback in self._callbacks:
            callback.on_step(step)

    def log(self, state: TrainingState, waited: float = 0.0) -> None:
        """Tell the means since the last log, and start new ones.

        Args:
            state: that the means are of.
            waited: seconds that the loop has waited for its pairs, since the run was started.
        """
        loss, norm = state.engine.mean(state.means.tensor()).tolist()
        state.means.reset()
        speed, wait = self._watch.lap(state.step, waited)
        values = {
            "loss": loss,
            "grad_norm": norm,
            "lr": state.config.lr * learning_rate_factor(state.step - 1, state.config),
            "steps_per_second": speed,
            "data_wait": wait,
            "peak_memory": peak_memory(state.parts.device),
        }
        for callback in self._callbacks:
            callback.on_log(state.step, values)

    def validated(self, state: TrainingState, values: dict[str, float]) -> None:
        """Tell the values of the averaged weights on held-out events, and remember the best ones."""
        state.consider(values["validation_loss"])
        for callback in self._callbacks:
            callback.on_validation(state.step, values)

    def draw(self, state: TrainingState) -> None:
        """Draw samples of the averaged weights into RUN/samples."""
        picture = None if self._images is None else self._images.draw(state.flow(), state.step)
        if picture is not None:
            for callback in self._callbacks:
                callback.on_sample(state.step, picture)

    def saved(self, step: int, checkpoint: Path) -> None:
        """A checkpoint was written."""
        for callback in self._callbacks:
            callback.on_checkpoint(step, checkpoint)

    def _end(self, error: BaseException | None) -> None:
        """Tell every callback that was started how the training ended, also where one of them raises."""
        status = ending(error)
        started, self._started = self._started, []
        failed: list[Exception] = []
        for callback in started:
            try:
                callback.on_end(self._state.step, status)
            except Exception as raised:
                failed.append(raised)
        if failed and error is None:
            raise failed[0]
        if error is not None:
            for raised in failed:
                warnings.warn(f"a callback failed at the end, too: {raised}", RuntimeWarning, stacklevel=2)


def ending(error: BaseException | None) -> str:
    """The word for how a training ended that raised ``error``, or nothing."""
    if error is None:
        return "finished"
    if isinstance(error, TrainingInterrupted):
        return "interrupted"
    return "diverged" if isinstance(error, TrainingDiverged) else "failed"


class Stopwatch:
    """Steps a second, and the share of the time that was spent waiting, since the last lap."""

    def __init__(self, step: int) -> None:
        self._step, self._waited, self._time = step, 0.0, time.perf_counter()

    def lap(self, step: int, waited: float = 0.0) -> tuple[float, float]:
        """(steps a second, share of waiting) since the last lap, which ends here.

        Args:
            step: steps that are done.
            waited: seconds of waiting, of all laps.
        """
        now = time.perf_counter()
        seconds = max(now - self._time, 1e-9)
        found = (step - self._step) / seconds, min((waited - self._waited) / seconds, 1.0)
        self._step, self._waited, self._time = step, waited, now
        return found


def peak_memory(device: torch.device) -> int:
    """The most bytes that the process has held at once; on CUDA, that its tensors have held there.

    0 where the system does not tell.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # of Unix
        return 0
    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found if sys.platform == "darwin" else found * 1024
