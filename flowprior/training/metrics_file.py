"""RUN/metrics.jsonl: written line by line, and cut back to the step that a run resumes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TextIO

from flowprior.training.writing import writing


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
            temporary = path.with_name(path.name + ".tmp")
            with writing(path):
                temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
                temporary.replace(path)
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
    """The lines of a metrics.jsonl; empty where there is no file, a torn line is left out."""
    lines = []
    if Path(path).exists():
        for text in Path(path).read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(text))
            except json.JSONDecodeError:
                continue
    return lines
