"""Callbacks: what is told of a training while it runs, among them the line of progress and metrics.jsonl."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from flowprior.progress import Stage
from flowprior.registry import Registered, Registry
from flowprior.storage import read_bytes, write_text
from flowprior.storage.user_paths import expanded
from flowprior.storage.writing import writing
from flowprior.training.config import RunConfig

METRICS_LIMIT = 128 << 20
"""Longest metrics.jsonl that is read, in bytes."""


@dataclass(frozen=True)
class TrainingStart:
    """What a callback is told first.

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


class MetricsFile(Callback):
    """RUN/metrics.jsonl: one JSON object a line, each with its step and kind, flushed as it is written.

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
        """Append one line."""
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
