"""Compute every figure of a report once more from the saved samples, and some samples from the saved flow."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from flowprior.errors import CheckpointError
from flowprior.study.cell_run import load_flow
from flowprior.study.collect import cell_folder, collect
from flowprior.study.folder import CellFolder, ComparisonFolder
from flowprior.study.judging import Splits, judge_again
from flowprior.study.regenerating import SAMPLE_TOLERANCE, Regenerating
from flowprior.study.summary import summarise

TOLERANCE = 1e-6
"""Relative; features that are computed with other threads differ by rounding."""
TIMINGS = ("seconds",)
"""Columns of an evaluation that no second computation can repeat."""
FIGURES = ("rows", "metrics")
"""Parts of an evaluation that are computed again."""


@dataclass(frozen=True)
class Check:
    """What a check found.

    Attributes:
        figures: numbers that were computed again.
        cells: whose samples were read.
        largest: largest relative difference between a cell's figure and the one that its samples give.
        differences: one line for each figure that differs by more than 1e-6, relative, for each number or
            text of report.json that does not follow from the cells' figures, and for each file of samples
            that the flow does not generate again.
        samples: that were generated anew, with the fewest evaluations of each file and with none.
        largest_shift: largest difference of these from the saved ones, in standard deviations of the samples'
            numbers; 0 on the same machine with as many threads, 1e-3 is allowed.
        notes: which samples could not be generated anew, and why.
    """

    figures: int
    cells: int
    largest: float
    differences: list[str]
    samples: int = 0
    largest_shift: float = 0.0
    notes: list[str] = field(default_factory=list)


def check_report(out: str | Path, notify: Callable[[str], None] = lambda line: None) -> Check:
    """Compute a report's figures again: the cells' from their samples, report.json's from the cells'.

    The figures are of the saved samples; whether these are the flow's, some show that are generated anew.
    Timings and costs are taken as they are.

    Args:
        out: directory of the comparison.
        notify: is told in one line which cell is looked at.

    Raises:
        CheckpointError: there is no report, or a file is missing or damaged.
    """
    folder = ComparisonFolder(out)
    reported = folder.read(folder.figures)
    collection = collect(folder)
    splits = Splits.load(collection.grid["data"])
    leaves: list[_Leaf] = []
    regenerated: dict[str, Regenerating] = {}
    for variant in collection.variants:
        for cell in variant["cells"]:
            result = collection.results[variant["label"]].get(cell["seed"])
            if result is not None:
                title = f"{variant['label']}, seed {cell['seed']}"
                notify(f"checking {title}")
                leaves += _cell_leaves(title, result, cell_folder(folder, cell), splits, regenerated)
    found = _compare(leaves, TOLERANCE)
    derived = _compare(list(_leaves("report.json", reported, summarise(collection))), 1e-12)
    return Check(
        figures=found.figures + derived.figures,
        cells=len(collection.all_results()),
        largest=found.largest,
        differences=[*_shifted(regenerated), *found.differences, *derived.differences],
        samples=sum(source.samples for source in regenerated.values()),
        largest_shift=max((source.largest for source in regenerated.values()), default=0.0),
        notes=[
            f"{name}: not generated anew: {source.left_out}"
            for name, source in regenerated.items()
            if source.left_out
        ],
    )


def _shifted(regenerated: dict[str, Regenerating]) -> list[str]:
    """One line for each file whose samples are not those that the flow generates."""
    return [
        f"{name}: the flow generates other samples, which differ by {source.largest:.3g} of their standard "
        f"deviation, more than {SAMPLE_TOLERANCE:g}"
        for name, source in regenerated.items()
        if not source.largest <= SAMPLE_TOLERANCE
    ]


class _Leaf(NamedTuple):
    """A number or text at one place, as it was written and as it comes out again."""

    place: str
    written: Any
    again: Any


def _cell_leaves(
    title: str,
    result: dict[str, Any],
    place: CellFolder,
    splits: Splits,
    regenerated: dict[str, Regenerating],
) -> list[_Leaf]:
    """Every figure of one cell, computed again from its samples; ``regenerated`` gets an entry a file."""
    training = result["config"]["training"]
    last = load_flow(place.run / "flow", training["device"])
    leaves: list[_Leaf] = []
    for judged in [*result["evaluations"], *result["curve"]]:
        step = judged.get("step", training["steps"])
        flow = last if step == training["steps"] else load_flow(place.flow(step), training["device"])
        source = Regenerating(flow, judged, place.path / judged["samples"])
        again = judge_again(flow, judged, splits, source)
        regenerated[f"{title}: {judged['samples']}"] = source
        _check_judge(judged, again)
        for part in FIGURES:
            name = f"{title}: {judged['samples']}: {part}"
            found = _leaves(name, judged[part], _only(judged[part], again[part]))
            leaves += [leaf for leaf in found if not _is_timing(leaf)]
    return leaves


def _check_judge(written: dict[str, Any], again: dict[str, Any]) -> None:
    """Refuse to compare figures of different classifiers.

    Raises:
        CheckpointError: another classifier judged.
    """
    judges = [judged["settings"].get("judge") for judged in (written, again)]
    if judges[0] != judges[1]:
        raise CheckpointError(
            f"the samples were judged by {judges[0]}, here the classifier is {judges[1]}: trained on another "
            "machine or with other threads, so the figures are not comparable; keep FLOWPRIOR_CACHE"
        )


def _only(written: Any, again: Any) -> Any:
    """``again`` without the metrics that a newer version adds."""
    if isinstance(written, dict):
        return {key: again.get(key) for key in written}
    rows = zip(written, again, strict=False)
    return [{key: new.get(key) for key in old} for old, new in rows] if len(written) == len(again) else again


def _is_timing(leaf: _Leaf) -> bool:
    return leaf.place.rpartition(".")[2] in TIMINGS


def _compare(leaves: list[_Leaf], tolerance: float) -> Check:
    figures, largest, differences = 0, 0.0, []
    for place, written, again in leaves:
        if isinstance(written, float | int) and isinstance(again, float | int):
            figures += 1
            difference = 0.0 if written == again else abs(written - again) / max(abs(written), abs(again))
            largest = max(largest, difference)
            if not difference <= tolerance:
                differences.append(f"{place} is {written:.10g}, computed again {again:.10g}")
        elif written != again:
            differences.append(f"{place} is {written!r}, computed again {again!r}")
    return Check(figures, 0, largest, differences)


def _leaves(place: str, written: Any, again: Any) -> Iterator[_Leaf]:
    """Every leaf of two trees with its place; what is in one only is paired with None."""
    if isinstance(written, dict) and isinstance(again, dict):
        for key in dict.fromkeys([*written, *again]):
            yield from _leaves(f"{place}.{key}", written.get(key), again.get(key))
    elif isinstance(written, list) and isinstance(again, list | tuple) and len(written) == len(again):
        for number, pair in enumerate(zip(written, again, strict=True)):
            yield from _leaves(f"{place}[{number}]", *pair)
    else:
        yield _Leaf(place, written, None if _is_infinite(again) else again)


def _is_infinite(value: Any) -> bool:
    """Whether JSON holds null in its place."""
    return isinstance(value, float) and not math.isfinite(value)
