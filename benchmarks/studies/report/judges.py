"""Who judged a section's cells: named in its text, and one alone in a table.

Fréchet distances, kernel distances and accuracies are comparable only under one set of extractors, against
one reference set, from equally many samples. Cells of several are refused, in one line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

JUDGED = ("fid-", "kid-", "accuracy")
"""How the metrics that depend on a judge's weights begin."""
Cell = dict[str, Any]


class MixedJudges(ValueError):
    """Cells of several judges, references or sample counts were to stand in one table."""


def judged_by(cell: Cell) -> dict[str, Any]:
    """What makes a cell's metrics comparable with another's: extractors, references, counts of samples.

    Older cells do not name their extractors. Their real-data score under them tells two apart: other weights
    or another reference give another one.
    """
    counts = ("reference", "validation_reference", "samples", "points")
    told = {"judge": cell.get("features") or _floors(cell)} if needs_judge(cell) else {}
    return told | {name: cell[name] for name in counts if name in cell}


def needs_judge(cell: Cell) -> bool:
    """Whether a cell holds metrics that a judge's weights decide."""
    rows = cell.get("rows")
    held = {name for row in rows for name in row} if isinstance(rows, list) else set()
    return "features" in cell or any(name.startswith(JUDGED) for name in held)


def one_judge(found: Iterable[Cell], where: str) -> None:
    """Refuse cells that must not stand in one table.

    Args:
        found: cells of one table; those that no judge has seen agree with any.
        where: names the table.

    Raises:
        MixedJudges: they were judged by several judges, against several references, or by other counts.
    """
    seen: dict[str, dict[str, int]] = {}
    for cell in found:
        for name, value in judged_by(cell).items():
            counts = seen.setdefault(name, {})
            key = json.dumps(value, sort_keys=True)
            counts[key] = counts.get(key, 0) + 1
    for name, counts in seen.items():
        if len(counts) > 1:
            told = " and ".join(f"{_short(json.loads(key))} ({count} cells)" for key, count in counts.items())
            raise MixedJudges(
                f"{where}: expected one {name.replace('_', ' ')} for all cells of a table, got {told}; judge "
                "them anew alike, or remove those of one kind"
            )


def judge_sentence(found: Iterable[Cell]) -> str:
    """Names the weights that judged cells of one judge; says so where they were not written down."""
    judged = [cell for cell in found if needs_judge(cell)]
    if not judged:
        return ""
    named = [cell["features"] for cell in judged if cell.get("features")]
    if named:
        return f"Judged by {' and '.join(f'`{_short(name)}`' for name in named[0])}."
    floors = _short(_floors(judged[0]))
    score = f"; every cell has the same real-data score ({floors}), so it was one judge" if floors else ""
    return f"The judge's weights were not written down{score}."


def _floors(cell: Cell) -> dict[str, float]:
    floor = cell.get("floor") or {}
    return {name: value for name, value in floor.items() if name.startswith("fid-")}


def _short(value: Any) -> str:
    """A judge, reference or count for people: digests with their first 8 digits."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {score:.6g}" for name, score in value.items())
    text = "; ".join(value) if isinstance(value, list) else str(value)
    return re.sub(r"(sha256 [0-9a-f]{8})[0-9a-f]+", r"\1", text)
