"""RUN/metrics.jsonl, as a callback, and how it is read again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from flowprior.storage import read_bytes, write_text
from flowprior.storage.user_paths import expanded
from flowprior.storage.writing import writing
from flowprior.training.callbacks import Callback

METRICS_LIMIT = 128 << 20
"""Longest file that is read, in bytes."""
TRAIN = ("loss",)
"""What a line of kind ``train`` holds as a number, of those that are read again."""


class MetricsFile(Callback):
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

    def on_log(self, step: int, values: Mapping[str, float]) -> None:
        self.write(step, "train", **values)

    def on_validation(self, step: int, values: Mapping[str, float]) -> None:
        self.write(step, "validation", **values)

    def on_end(self, step: int, status: str) -> None:
        self.close()

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
    numbers = line["kind"] != "train" or all(type(line.get(name)) in (int, float) for name in TRAIN)
    return line if numbers else None
