"""Callbacks, which a training reports to: the user's, metrics.jsonl and the line of progress."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch

from flowprior.errors import TrainingDiverged, TrainingInterrupted
from flowprior.models.encoders import EncodedData
from flowprior.progress.stages import Stage
from flowprior.registry import Registered, Registry
from flowprior.registry.plugins import load_point
from flowprior.storage.reading import read_bytes
from flowprior.storage.user_paths import expanded
from flowprior.storage.writing import write_text, writing
from flowprior.training.config import RunConfig
from flowprior.training.run import RunDirectory
from flowprior.training.state import TrainingState, learning_rate

METRICS_LIMIT = 128 << 20
"""The size of the longest metrics.jsonl that is read, in bytes."""


@dataclass(frozen=True)
class TrainingStart:
    """The first facts that a callback gets.

    Attributes:
        config: the configuration of the run, resolved.
        step: the steps that are done already, above 0 if a run is resumed.
        folder: the folder of the run; None if nothing is written.
        measures: values of source samples and pairs before the first step of a run with a folder.
    """

    config: RunConfig
    step: int
    folder: Path | None
    measures: Mapping[str, Any] = field(default_factory=dict)


class Callback(Registered):
    """The base class of what a training reports to, named by ``train(callbacks=…)`` and ``--callback``.

    Every method does nothing here; override those that you need. They are called between steps, in the order
    of the callbacks, at the end in reverse, and what they raise ends the training. Of a run that is resumed
    they hear from its next step on.
    """

    registry: ClassVar[Registry[Any]] = Registry("callback", "flowprior.callbacks")

    def check(self, folder: Path | None) -> None:
        """Refuse a run that this callback cannot follow; called before anything else is done.

        Args:
            folder: the folder of the run; None if nothing is written.

        Raises:
            OptionError: something is missing.
        """

    def on_start(self, start: TrainingStart) -> None:
        """Begin: the prior is fitted, and the next step is the first."""

    def on_step(self, step: int) -> None:
        """Note that ``step`` steps are done."""

    def on_log(self, step: int, values: Mapping[str, float]) -> None:
        """Take the values since the last call, every ``log_every`` steps.

        Args:
            step: the steps that are done.
            values: means of ``loss`` and of the gradient's norm ``grad_norm``; ``lr``; ``steps_per_second``;
                ``data_wait``, the share of the time that the loop waited for its pairs; ``peak_memory``, the
                most bytes that the process (on CUDA, its tensors) held at once.
        """

    def on_validation(self, step: int, values: Mapping[str, float]) -> None:
        """Take the values of the averaged weights on the events that are held out, if there are some.

        Args:
            step: the steps that are done.
            values: ``validation_loss``, the mean over all times, and ``validation_loss_at_T`` at each time T.
        """

    def on_sample(self, step: int, picture: Path) -> None:
        """Note that samples were drawn into the file ``picture``, every ``sample_every`` steps."""

    def on_checkpoint(self, step: int, checkpoint: Path) -> None:
        """Note that the folder ``checkpoint`` was written: every ``checkpoint_every`` steps, at the end."""

    def on_end(self, step: int, status: str) -> None:
        """Finish after ``step`` steps: the status is finished, interrupted, diverged or failed.

        Called once for each :meth:`on_start` that returned, also where another callback raised.
        """


class MetricsFile(Callback):
    """The file metrics.jsonl: one JSON object a line, with its step and kind, flushed as it is written.

    Of a run that is resumed, lines of later steps and torn ones are dropped.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_start(self, start: TrainingStart) -> None:
        kept = [line for line in read_metrics(self._path) if line["step"] <= start.step] if start.step else []
        write_text(self._path, "".join(json.dumps(line) + "\n" for line in kept))
        with writing(self._path):
            self._file = self._path.open("a", encoding="utf-8")
        if start.measures:
            self.write(0, "start", start.measures)

    def on_log(self, step: int, values: Mapping[str, float]) -> None:
        self.write(step, "train", values)

    def on_validation(self, step: int, values: Mapping[str, float]) -> None:
        self.write(step, "validation", values)

    def on_end(self, step: int, status: str) -> None:
        self._file.close()

    def write(self, step: int, kind: str, values: Mapping[str, Any]) -> None:
        """Add one line."""
        with writing(self._path):
            self._file.write(json.dumps({"step": step, "kind": kind, **values}) + "\n")
            self._file.flush()


class ProgressLine(Callback):
    """The line of progress: steps, loss, steps a second and the time that is left.

    Args:
        shown: False shows nothing.
    """

    def __init__(self, shown: bool) -> None:
        self._shown = shown

    def on_start(self, start: TrainingStart) -> None:
        steps = start.config.training.steps
        self._line = Stage("train", steps, first=start.step, shown=self._shown, everywhere=True, kept=True)

    def on_step(self, step: int) -> None:
        self._line.update(step)

    def on_log(self, step: int, values: Mapping[str, float]) -> None:
        self._line.update(step, f"loss {values['loss']:.4g}")

    def on_end(self, step: int, status: str) -> None:
        self._line.stop()


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """Return the lines of a metrics.jsonl; none if there is no file.

    A line that is torn, or is none that a run writes, is left out.

    Raises:
        CheckpointError: the file is longer than 128 MiB, or cannot be read.
    """
    if not expanded(path).exists():
        return []
    found = (_parse(line) for line in read_bytes(path, METRICS_LIMIT).split(b"\n"))
    return [line for line in found if line is not None]


def _parse(text: bytes) -> dict[str, Any] | None:
    """Return the values of one line; None for what a run does not write."""
    try:
        line = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(line, dict) or type(line.get("step")) is not int or type(line.get("kind")) is not str:
        return None
    return line if line["kind"] != "train" or type(line.get("loss")) in (int, float) else None


class Monitor:
    """A context that reports what happens in a run to its callbacks, from their start to their end.

    Args:
        state: the state of the training, at the step where the run starts or resumes.
        run: the folder of the files; None writes none.
        progress: show how far it has come.
        callbacks: those of the user, called after metrics.jsonl.
        measures: values that were measured before the first step.
    """

    def __init__(
        self,
        state: TrainingState,
        run: RunDirectory | None,
        progress: bool,
        callbacks: Iterable[Callback] = (),
        measures: Mapping[str, Any] | None = None,
    ) -> None:
        self._state, parts = state, state.parts
        own = [ProgressLine(progress)] if run is None else [MetricsFile(run.metrics), ProgressLine(progress)]
        self._callbacks: list[Callback] = [*own, *callbacks]
        self._start = TrainingStart(parts.config, state.step, run.path if run else None, measures or {})
        self._lap = (state.step, state.waited, time.perf_counter())
        self._images: Any = None
        if run is not None:
            data = parts.data.images if isinstance(parts.data, EncodedData) else parts.data
            images = load_point("flowprior.hooks", "sample-images", "train")
            self._images = images(data, run.samples, state.config, parts.device)

    def __enter__(self) -> Monitor:
        with ExitStack() as ends:
            for callback in self._callbacks:
                callback.on_start(self._start)
                ends.push(partial(self._end, callback))
            self._ends = ends.pop_all()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._ends.__exit__(*raised)

    def _end(self, callback: Callback, kind: object, error: BaseException | None, trace: object) -> None:
        callback.on_end(self._state.step, ending(error))

    def tell(self, event: str, *values: Any) -> None:
        """Call the method ``event`` of all callbacks."""
        for callback in self._callbacks:
            getattr(callback, event)(*values)

    def log(self, state: TrainingState) -> None:
        """Report the means since the last log, and start new ones."""
        loss, norm = state.means.take()
        step, waited, begun = self._lap
        self._lap = (state.step, state.waited, time.perf_counter())
        seconds = max(self._lap[2] - begun, 1e-9)
        values = {
            "loss": loss,
            "grad_norm": norm,
            "lr": learning_rate(state.step - 1, state.config),
            "steps_per_second": (state.step - step) / seconds,
            "data_wait": min((state.waited - waited) / seconds, 1.0),
            "peak_memory": peak_memory(state.parts.device),
        }
        self.tell("on_log", state.step, values)

    def draw(self, state: TrainingState) -> None:
        """Draw samples of the averaged weights into RUN/samples."""
        picture = self._images and self._images.draw(state.flow(), state.step)
        if picture is not None:
            self.tell("on_sample", state.step, picture)


def ending(error: BaseException | None) -> str:
    """Return the status of a training that ended with this error, or without one."""
    if error is None:
        return "finished"
    if isinstance(error, TrainingInterrupted):
        return "interrupted"
    return "diverged" if isinstance(error, TrainingDiverged) else "failed"


def peak_memory(device: torch.device) -> int:
    """Return the most bytes that the process has held at once; on CUDA, those of its tensors there."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found if sys.platform == "darwin" else found * 1024
