"""What the sections share: the cells of an experiment, figures with their spread, tables, what ran."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.studies.report.judges import one_judge

RESULTS = Path(__file__).parents[2] / "results"
Cell = dict[str, Any]
METRICS = {
    "w2_squared": "W2²",
    "raw": "raw W2²",
    "debiased": "debiased W2²",
    "energy": "energy distance",
    "sliced": "sliced W2²",
}
"""How metrics are called in texts, where not as in the cells."""


def note(report: Cell) -> str:
    """What a stored file says of itself beyond its command, as a further sentence; "" where nothing."""
    return f" {report['note']}" if "note" in report else ""


def cells(experiment: str, kind: str = "") -> list[Cell]:
    """Every finished cell of an experiment, in the order of their files; all of one judge.

    Args:
        experiment: name of the folder.
        kind: the cells of this part alone, for an experiment whose parts have tables of their own.

    Raises:
        MixedJudges: two judges or two references among them.
    """
    found = [json.loads(path.read_text()) for path in sorted((RESULTS / experiment).glob("*.json"))]
    found = [cell for cell in found if not kind or kind in (cell.get("kind"), cell.get("part"))]
    one_judge(found, f"{experiment} {kind}".strip())
    return found


def spread(values: list[float], digits: int = 1) -> str:
    """``mean ± standard deviation``, the latter over seeds, where there are more than one."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def counted(number: int, thing: str) -> str:
    """``1 seed`` or ``3 seeds``."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def value_at(cell: Cell, nfe: int, metric: str, rows: str = "rows") -> float:
    """The figure of one cell at ``nfe`` evaluations."""
    return next(row[metric] for row in cell[rows] if row["nfe"] == nfe)


def shown_at(group: list[Cell], nfe: int, metric: str, digits: int) -> str:
    """``mean ± deviation`` of the cells at ``nfe``; a dash where a cell has no such row."""
    values = [row[metric] for cell in group for row in cell["rows"] if row["nfe"] == nfe and metric in row]
    return spread(values, digits) if values and len(values) == len(group) else "–"


def worse_than_prior(groups: dict[str, list[Cell]], metric: str, nfes: Iterable[int]) -> str:
    """Where a flow loses to its own prior, in a sentence; "" where no group has its prior alone.

    Args:
        groups: name -> its cells, with a row at NFE 0.
        metric: of which less is better, but for ``accuracy``.
        nfes: the numbers of evaluations that are shown.
    """
    sign = -1 if metric == "accuracy" else 1
    lost = []
    ran = {name: group for name, group in groups.items() if group}
    known = {name: group for name, group in ran.items() if _has_prior(group, metric)}
    by = METRICS.get(metric, metric)
    for name, group in known.items():
        alone = sign * statistics.mean(value_at(cell, 0, metric) for cell in group)
        means = {n: sign * statistics.mean(value_at(cell, n, metric) for cell in group) for n in nfes if n}
        worse = [str(nfe) for nfe, mean in means.items() if mean > alone]
        if worse:
            every = len(worse) == len(means)
            lost.append(f"`{name}` at {'every NFE' if every else 'NFE ' + ', '.join(worse)}")
    if not known:
        return ""
    if not lost:
        flows = "every flow" if known.keys() == ran.keys() else "every flow with a row at NFE 0"
        return f"By {by} {flows} is better than its own prior alone, at every NFE shown."
    return f"**By {by} worse than their own prior alone (NFE 0): {'; '.join(lost)}.**"


def _has_prior(group: list[Cell], metric: str) -> bool:
    return all(any(row["nfe"] == 0 and metric in row for row in cell["rows"]) for cell in group)


def grouped(found: Iterable[Cell], key: str) -> dict[str, list[Cell]]:
    """The cells by their value of ``key``, in the order of its first appearance."""
    groups: dict[str, list[Cell]] = {}
    for cell in found:
        groups.setdefault(cell[key], []).append(cell)
    return groups


def ran(found: list[Cell]) -> str:
    """How many cells ran, how long they took, and on what."""
    first = found[0]
    minutes = sum(cell["seconds"] for cell in found) / 60
    return (
        f"{counted(len(found), 'cell')}, {minutes:.0f} minutes of a busy machine in all, "
        f"{counted(first['threads'], 'thread')} of {first['processor']}, torch {first['torch']}."
    )
