"""Callbacks: what is told of a training while it runs, and who tells it.

Among them is metrics.jsonl.
"""

from __future__ import annotations

import json
import resource
import sys
import time
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from flowprior.errors import TrainingDiverged
from flowprior.models.encoders import EncodedData
from flowprior.progress.stages import Stage
from flowprior.registry import Registered, Registry
from flowprior.registry.plugins import load_point
from flowprior.storage.reading import read_bytes
from flowprior.storage.user_paths import expanded
from flowprior.storage.writing import write_text, writing
from flowprior.training.config import RunConfig
from flowprior.training.interrupts import TrainingInterrupted
from flowprior.training.run import RunDirectory
from flowprior.training.state import TrainingState, learning_rate_factor

METRICS_LIMIT = 128 << 20
"""Longest metrics.jsonl that is read, in bytes."""


@dataclass(frozen=True)
class TrainingStart:
    """The first facts that a callback gets.

    Attributes:
        config: of the run, resolved.
        step: steps that are done already, above 0 where a run is taken up again.
        folder: of the run; None where nothing is written.
    """

    config: RunConfig
    step: int
    folder: Path | None


class Callback(Registered):
    """Base class of what is told of a training; named by ``train(callbacks=…)`` and ``--callback``.

    Every method does nothing here; override those that you need. They are called between steps, in the order
    of the callbacks, and what they raise ends the training. Of a run that is taken up again they are told
    from its next step on.
    """

    registry: ClassVar[Registry[Any]] = Registry("callback", "flowprior.callbacks")

    def check(self, folder: Path | None) -> None:
        """Refuse a run that this callback cannot be told of; called before anything else is done.

        Args:
            folder: of the run; None where nothing is written.

        Raises:
            OptionError: what is missing.
        """

    def on_start(self, start: TrainingStart) -> None:
        """The prior is fitted, and the next step is the first."""

    def on_step(self, step: int) -> None:
        """``step`` steps are done."""

    def on_log(self, step: int, values: Mapping[str, float]) -> None:
        """Values since the last call, every ``log_every`` steps.

        Args:
            step: steps that are done.
            values: means of ``loss`` and of the gradient's norm ``grad_norm``; ``lr``; ``steps_per_second``;
                ``data_wait``, the share of the time that the loop waited for its pairs; ``peak_memory``, the
                most bytes that the process (on CUDA, its tensors) held at once.
        """

    def on_validation(self, step: int, values: Mapping[str, float]) -> None:
        """Values of the averaged weights on the events that are held out, where there are some.

        Args:
            step: steps that are done.
            values: ``validation_loss``, the mean over all times, and ``validation_loss_at_T`` at each time T.
        """

    def on_sample(self, step: int, picture: Path) -> None:
        """Samples were drawn into the file ``picture``, every ``sample_every`` steps."""

    def on_checkpoint(self, step: int, checkpoint: Path) -> None:
        """The folder ``checkpoint`` was written, every ``checkpoint_every`` steps and at the end."""

    def on_end(self, step: int, status: str) -> None:
        """Training ended after ``step`` steps: ``finished``, ``interrupted``, ``diverged`` or ``failed``.

        Called once for each :meth:`on_start` that returned, also where another callback raised.
        """


class MetricsFile(Callback):
    """The file metrics.jsonl: one JSON object a line, with its step and kind, flushed as it is written.

    Args:
        path: the file.
        step: the step that the run resumes from; later lines and torn ones are dropped, at 0 all are.
    """

    def __init__(self, path: Path, step: int = 0) -> None:
        kept = [line for line in read_metrics(path) if line["step"] <= step] if step else []
        write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
        with writing(path):
            self._file = path.open("a", encoding="utf-8")
        self._path = path

    def on_log(self, step: int, values: Mapping[str, float]) -> None:
        self.write(step, "train", **values)

    def on_validation(self, step: int, values: Mapping[str, float]) -> None:
        self.write(step, "validation", **values)

    def on_end(self, step: int, status: str) -> None:
        self._file.close()

    def write(self, step: int, kind: str, **values: Any) -> None:
        """Add one line."""
        with writing(self._path):
            self._file.write(json.dumps({"step": step, "kind": kind, **values}) + "\n")
            self._file.flush()


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl; empty where there is no file.

    A line that is torn, or is none that a run writes, is left out.

    Raises:
        CheckpointError: the file is longer than 128 MiB, or cannot be read.
    """
    if not expanded(path).exists():
        return []
    found = (_parse(line) for line in read_bytes(path, METRICS_LIMIT).split(b"\n"))
    return [line for line in found if line is not None]


def _parse(text: bytes) -> dict[str, Any] | None:
    """One line; None where it is none."""
    try:
        line = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(line, dict) or type(line.get("step")) is not int or type(line.get("kind")) is not str:
        return None
    return line if line["kind"] != "train" or type(line.get("loss")) in (int, float) else None


class Monitor:
    """A context that reports what happens in a run to its callbacks, and on a line of progress.

    The line has the steps, the loss, steps a second and the time that is left.

    Args:
        state: standing at the step where the run starts or resumes.
        run: where files go; None writes none.
        progress: show how far it has come.
        callbacks: told after metrics.jsonl.
    """

    def __init__(
        self,
        state: TrainingState,
        run: RunDirectory | None,
        progress: bool,
        callbacks: Iterable[Callback] = (),
    ) -> None:
        self._state = state
        self._metrics = MetricsFile(run.metrics, state.step) if run else None
        self._line = Stage(
            "train", state.config.steps, first=state.step, shown=progress, everywhere=True, kept=True
        )
        self._callbacks: list[Callback] = [*filter(None, [self._metrics]), *callbacks]
        self._started: list[Callback] = []
        parts = state.parts
        shown = parts.data.images if isinstance(parts.data, EncodedData) else parts.data
        self._images: Any = None
        if run is not None:
            images = load_point("flowprior.hooks", "sample-images", "train")
            self._images = images(shown, run.samples, state.config, parts.device)
        self._start = TrainingStart(parts.config, state.step, run.path if run else None)
        self._lap = (state.step, 0.0, time.perf_counter())

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
        if self._metrics is not None:
            self._metrics.write(step, kind, **values)

    def advance(self, step: int) -> None:
        """``step`` steps are done."""
        self._line.update(step)
        self._tell("on_step", step)

    def log(self, state: TrainingState, waited: float = 0.0) -> None:
        """Tell the means since the last log, and start new ones.

        Args:
            state: that the means are of.
            waited: seconds that the loop has waited for its pairs, since the run was started.
        """
        loss, norm = state.processes.mean(state.means.tensor()).tolist()
        state.means.reset()
        step, before, begun = self._lap
        self._lap = (state.step, waited, time.perf_counter())
        seconds = max(self._lap[2] - begun, 1e-9)
        values = {
            "loss": loss,
            "grad_norm": norm,
            "lr": state.config.lr * learning_rate_factor(state.step - 1, state.config),
            "steps_per_second": (state.step - step) / seconds,
            "data_wait": min((waited - before) / seconds, 1.0),
            "peak_memory": peak_memory(state.parts.device),
        }
        self._line.update(state.step, f"loss {loss:.4g}")
        self._tell("on_log", state.step, values)

    def validated(self, state: TrainingState, values: dict[str, float]) -> None:
        """Tell the values of the averaged weights on held-out events, and remember the best ones."""
        state.consider(values["validation_loss"])
        self._tell("on_validation", state.step, values)

    def draw(self, state: TrainingState) -> None:
        """Draw samples of the averaged weights into RUN/samples."""
        picture = self._images and self._images.draw(state.flow(), state.step)
        if picture is not None:
            self._tell("on_sample", state.step, picture)

    def saved(self, step: int, checkpoint: Path) -> None:
        """A checkpoint was written."""
        self._tell("on_checkpoint", step, checkpoint)

    def _tell(self, event: str, *values: Any) -> None:
        for callback in self._callbacks:
            getattr(callback, event)(*values)

    def _end(self, error: BaseException | None) -> None:
        """Tell every callback that was started how the training ended, also where one of them raises."""
        self._line.stop()  # as it stands
        status = ending(error)
        started, self._started = self._started, []
        failed: list[Exception] = []
        for callback in started:
            try:
                callback.on_end(self._state.step, status)
            except Exception as raised:
                failed.append(raised)
        for raised in failed:
            if error is None:
                raise raised
            warnings.warn(f"a callback failed at the end, too: {raised}", RuntimeWarning, stacklevel=2)


def ending(error: BaseException | None) -> str:
    """The word for how a training ended that raised ``error``, or nothing."""
    if error is None:
        return "finished"
    if isinstance(error, TrainingInterrupted):
        return "interrupted"
    return "diverged" if isinstance(error, TrainingDiverged) else "failed"


def peak_memory(device: torch.device) -> int:
    """The most bytes that the process has held at once; on CUDA, that its tensors have held there."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found if sys.platform == "darwin" else found * 1024
