"""What came of trainings that were killed at random moments, as a table for the page of results.

    python -m tests.training.kills --kills 60 --out FOLDER/one-process.json
    python -m tests.training.kills --kills 25 --seed 1 --processes 2 --out FOLDER/two-processes.json
    python -m tests.training.kills --kills 15 --seed 2 --processes 2 --set training.shard=true \\
        --out FOLDER/two-processes-with-shards.json

with FOLDER benchmarks/results/kills.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flowprior.report.markdown import markdown_table

HEADER = [
    "processes",
    "kills",
    "in a step or a save",
    "temporary files after the kills",
    "at the end",
    "flow as of the undisturbed run",
]


def read(folder: Path) -> list[dict[str, Any]]:
    """The stored files, by the number of processes."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    return sorted(found, key=lambda one: (one["processes"], len(one["settings"])))


def table(found: list[dict[str, Any]]) -> str:
    """A row for each training."""
    rows = [
        [
            ", ".join([str(one["processes"]), *(f"`{setting}`" for setting in one["settings"])]),
            str(one["kills"]),
            str(one["in_training"]),
            str(one["leftovers_of_kills"]),
            str(len(one["leftovers_at_the_end"])),
            "equal, byte for byte" if one["equal"] else "**differs**",
        ]
        for one in found
    ]
    return markdown_table(HEADER, rows)
