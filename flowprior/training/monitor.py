"""What a run tells while it runs: metrics.jsonl, pictures and a progress bar."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from flowprior.encoding import pictures_of
from flowprior.storage import read_bytes, write_text
from flowprior.storage.writing import writing
from flowprior.training.optimiser import learning_rate_factor
from flowprior.training.pictures import SamplePictures
from flowprior.training.run import RunDirectory
from flowprior.training.state import TrainingState

METRICS_LIMIT = 128 << 20
"""Longest file that is read, in bytes."""
TRAIN = ("loss",)
"""What a line of kind ``train`` holds as a number, of those that are read again."""


class Monitor:
    """Logs, draws and shows progress; a context.

    Args:
        state: standing at the step where the run starts or resumes.
        run: where files go; None writes none.
        progress: show a bar on stderr.
    """

    def __init__(self, state: TrainingState, run: RunDirectory | None, progress: bool) -> None:
        self._metrics = MetricsFile(run.metrics if run else None, state.step)
        parts = state.parts
        shown = pictures_of(parts.data)
        self._pictures = SamplePictures(shown, run.samples, state.config, parts.device) if run else None
        self._bar = ProgressBar(state.config.steps, state.step, shown=progress)
        self._watch = Stopwatch(state.step)

    def __enter__(self) -> Monitor:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the bar as it stands and close the file."""
        self._bar.stop()
        self._metrics.close()

    def note(self, step: int, kind: str, **values: Any) -> None:
        """Write one line of metrics that is no training step's."""
        self._metrics.write(step, kind, **values)

    def advance(self, step: int) -> None:
        """``step`` steps are done."""
        self._bar.advance(step)

    def log(self, state: TrainingState) -> None:
        """Write and show the means since the last log, and start new ones."""
        loss, norm = state.means.means()
        state.means.reset()
        lr = state.config.lr * learning_rate_factor(state.step - 1, state.config)
        speed = self._watch.lap(state.step)
        self._metrics.write(state.step, "train", loss=loss, grad_norm=norm, lr=lr, steps_per_second=speed)
        self._bar.report(loss, speed)

    def draw(self, state: TrainingState) -> None:
        """Draw samples of the averaged weights into RUN/samples."""
        if self._pictures is not None:
            self._pictures.draw(state.flow(), state.step)


class ProgressBar:
    """A bar with loss, steps a second and the time that is left, on stderr.

    Args:
        steps: of the whole run.
        step: done already.
        shown: False shows nothing.
    """

    def __init__(self, steps: int, step: int = 0, shown: bool = True) -> None:
        self._bar = Progress(
            TextColumn("train"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[report]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not shown,
        )
        self._task = self._bar.add_task("train", total=steps, completed=step, report="")

    def start(self) -> None:
        """Show the bar."""
        self._bar.start()

    def stop(self) -> None:
        """Leave the bar as it stands."""
        self._bar.stop()

    def advance(self, step: int) -> None:
        """``step`` steps are done."""
        self._bar.update(self._task, completed=step)

    def report(self, loss: float, speed: float) -> None:
        """Show the latest loss and speed."""
        self._bar.update(self._task, report=f"loss {loss:.4g} {speed:.3g} steps/s")


class Stopwatch:
    """Steps a second since the last lap."""

    def __init__(self, step: int) -> None:
        self._step, self._time = step, time.perf_counter()

    def lap(self, step: int) -> float:
        """Steps a second since the last lap, which ends here."""
        now = time.perf_counter()
        speed = (step - self._step) / max(now - self._time, 1e-9)
        self._step, self._time = step, now
        return speed


class MetricsFile:
    """RUN/metrics.jsonl: one JSON object a line, each with its step and kind, flushed as it is written.

    Args:
        path: the file; None writes nothing.
        step: the step that the run resumes from; later lines and torn ones are dropped, at 0 all are.
    """

    def __init__(self, path: Path | None, step: int = 0) -> None:
        self._file: TextIO | None = None
        if path is not None:
            kept = [line for line in read_metrics(path) if line["step"] <= step] if step else []
            write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
            with writing(path):
                self._file = path.open("a", encoding="utf-8")
            self._path = path

    def write(self, step: int, kind: str, **values: Any) -> None:
        """Append one line."""
        if self._file is not None:
            with writing(self._path):
                self._file.write(json.dumps({"step": step, "kind": kind, **values}) + "\n")
                self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl; empty where there is no file.

    A line that is torn, or is none that a run writes, is left out.

    Raises:
        CheckpointError: the file is longer than 128 MiB, or cannot be read.
    """
    if not Path(path).exists():
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
    numbers = line["kind"] != "train" or all(type(line.get(name)) in (int, float) for name in TRAIN)
    return line if numbers else None
