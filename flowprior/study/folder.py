"""What a comparison leaves on the disk, and how its files are read and written."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowprior.errors import CheckpointError
from flowprior.training.writing import writing

if TYPE_CHECKING:
    from flowprior.study.cells import Cell


FORMAT = 2
"""Of plan, results and report.

Format 1 judged residual and epsilon flows as if their networks gave the velocity, and knew no NFE 0.
"""


class ComparisonFolder:
    """Names of the files of one comparison.

    Args:
        path: the directory OUT.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.grid = self.path / "grid.toml"
        self.plan = self.path / "plan.json"
        self.report = self.path / "report.html"
        self.figures = self.path / "report.json"

    def cell(self, cell: Cell) -> CellFolder:
        """The folder of one cell."""
        return CellFolder(self.path / "cells" / cell.name, cell.key)

    def read_plan(self) -> dict[str, Any]:
        """What the last run set out to do.

        Raises:
            CheckpointError: nothing was run here, the file is damaged, or of a format that is not judged by.
        """
        if not self.plan.is_file():
            raise CheckpointError(
                f"{self.path} holds no comparison; run one with: flowprior compare --out {self.path}"
            )
        return self.read(self.plan)

    def read(self, path: Path) -> dict[str, Any]:
        """The object in a file of this comparison: its plan, a result or the report.

        Raises:
            CheckpointError: it is missing or damaged, or of another format.
        """
        found = read_json(path)
        written = found.get("format")
        if written == FORMAT:
            return found
        faulty = "judged residual and epsilon flows wrongly" if written == 1 else "is another one"
        raise CheckpointError(
            f"{path} has format {written}, which {faulty}; this flowprior has format {FORMAT}: judge the "
            f"trained flows again with: flowprior compare --out {self.path}"
        )


class CellFolder:
    """Names of the files of one cell.

    Args:
        path: OUT/cells/NAME.
        key: of the cell; files of other keys are those of other ways of judging the same flow.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        self.key = key
        self.run = path / "run"
        self.flows = path / "flows"
        self.result = path / f"result-{key}.json"
        self.failure = path / f"failure-{key}.json"

    def samples(self, what: str) -> Path:
        """The file of the samples behind one evaluation."""
        return self.path / f"samples-{self.key}-{what}.safetensors"

    def flow(self, step: int) -> Path:
        """The flow with averaged weights after ``step`` steps."""
        return self.flows / f"step-{step:06d}"


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError(f"expected an object, got {type(found).__name__}")
        return found
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is missing or damaged ({error}); remove it and run again") from error


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write an object as JSON in one move; numbers that are not finite become null.

    Raises:
        CheckpointError: the file cannot be written.
    """
    write_text(path, json.dumps(_finite(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file in one move; the previous one survives a failure.

    Raises:
        CheckpointError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
