"""The JSON file of a run: whole after every step, so that a run that is cut tells what it found."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gpu.steps import Step

FORMAT = 1
DONE, FAILED, SKIPPED, REHEARSED = "done", "failed", "skipped", "rehearsed"
NOT_REACHED = "the run ended before this step"
CUT = "the run ended during this step"


@dataclass(frozen=True)
class Outcome:
    """What a step left.

    Attributes:
        values: what it found, up to its end or its error.
        error: the end of what went wrong; None where nothing did.
    """

    values: dict[str, Any] = field(default_factory=dict)
    error: str | None = None


class Record:
    """The file and its steps, all of them from the beginning on: those that never ran say so.

    Args:
        path: of the file; its folder is made.
        about: what the run is, beside its steps.
        steps: of the run, in their order.
        rehearsal: whether a step that ends well was only rehearsed.
    """

    def __init__(self, path: Path, about: dict[str, Any], steps: Iterable[Step], rehearsal: bool) -> None:
        self.path, self.about, self.rehearsal = path, about, rehearsal
        self.steps = {
            step.name: {
                "name": step.name,
                "does": step.does,
                "runs": step.runs,
                "status": SKIPPED,
                "seconds": 0.0,
                "values": {},
                "error": NOT_REACHED,
            }
            for step in steps
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        self.write()

    def begin(self, name: str) -> None:
        """A step begins: until its end the file says that the run was cut there."""
        self._update(name, status=FAILED, error=CUT)

    def partly(self, name: str, values: dict[str, Any], seconds: float) -> None:
        """What a step that still runs has found so far."""
        self._update(name, values=values, seconds=seconds)

    def end(self, name: str, outcome: Outcome, seconds: float) -> None:
        """A step has ended, well or with an error."""
        well = REHEARSED if self.rehearsal else DONE
        status = well if outcome.error is None else FAILED
        self._update(name, status=status, seconds=seconds, values=outcome.values, error=outcome.error)

    def skip(self, name: str, reason: str) -> None:
        """A step is left out."""
        self._update(name, status=SKIPPED, error=reason)

    @property
    def failed(self) -> list[str]:
        """Names of the steps that ended with an error."""
        return [name for name, step in self.steps.items() if step["status"] == FAILED]

    def write(self) -> None:
        """Replace the file in one move."""
        content = {"format": FORMAT, **self.about, "steps": list(self.steps.values())}
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        temporary.replace(self.path)

    def _update(self, name: str, **values: Any) -> None:
        if "seconds" in values:
            values["seconds"] = round(values["seconds"], 1)
        self.steps[name] |= values
        self.write()


def file_name(card: str | None) -> str:
    """Name of the file of a card, such as ``nvidia-h100-80gb-hbm3.json``."""
    return re.sub(r"[^a-z0-9]+", "-", (card or "rehearsal").lower()).strip("-") + ".json"
