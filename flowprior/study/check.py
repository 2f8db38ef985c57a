"""Compute every value of a report once more from the saved samples, and some samples from the saved flow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from flowprior.errors import CheckpointError
from flowprior.evaluation.result import COLUMNS, SECONDS, Result
from flowprior.storage.writing import only_finite
from flowprior.study.cell_file import CellFolder, StudyFolder, collect, find_cell
from flowprior.study.evaluating import Asked, Request, evaluate_again, load_flow
from flowprior.study.samples import SAMPLE_TOLERANCE, Regenerating
from flowprior.study.splits import Splits
from flowprior.study.summary import summarise

TOLERANCE = 1e-6
"""Relative; features that are computed with other threads differ by rounding."""


@dataclass(frozen=True)
class Check:
    """What a check found.

    Attributes:
        values: numbers that were computed again.
        cells: whose samples were read.
        largest: largest relative difference between a cell's value and the one that its samples give.
        differences: one line for each value that differs by more than 1e-6, relative, for each number or
            text of report.json that does not follow from the cell files, and for each file of samples that
            the flow does not generate again.
        samples: that were generated anew, with the fewest evaluations of each file and with none.
        largest_shift: largest difference of these from the saved ones, in standard deviations of the samples'
            numbers; 0 on the same machine with as many threads, 1e-3 is allowed.
        notes: which samples could not be generated anew, and why.
    """

    values: int
    cells: int
    largest: float
    differences: list[str]
    samples: int = 0
    largest_shift: float = 0.0
    notes: list[str] = field(default_factory=list)


class _Leaf(NamedTuple):
    """A number or text at one place, as it was written and as it comes out again."""

    place: str
    written: Any
    again: Any


def check_report(out: str | Path, notify: Callable[[str], None] = lambda line: None) -> Check:
    """Compute a report's values again: the cells' from their samples, report.json's from the cell files.

    The values are of the saved samples; whether these are the flow's, some show that are generated anew.
    Timings and costs are taken as they are, as are those of the grid's ``values`` function.

    Args:
        out: directory of the comparison.
        notify: is told in one line which cell is looked at.

    Raises:
        CheckpointError: there is no report, or a file is missing or damaged.
    """
    folder = StudyFolder(out)
    reported = folder.read(folder.values)
    collection = collect(folder)
    splits = Splits.of(collection.grid)
    device = collection.grid["training"]["device"]
    leaves: list[_Leaf] = []
    sources: dict[str, Regenerating] = {}
    cells = [(label, seed, one) for label, row in collection.results.items() for seed, one in row.items()]
    for label, seed, result in cells:
        notify(f"checking {label}, seed {seed}")
        place = find_cell(folder, collection, label, seed)
        for name, source, found in _evaluated_again(f"{label}, seed {seed}", result, place, splits, device):
            sources[name] = source
            leaves += found
    derived = list(_leaves("report.json", reported, only_finite(summarise(collection))))
    return _summary(len(cells), _compare(leaves, TOLERANCE), _compare(derived, 1e-12), sources)


def _summary(cells: int, found: Check, derived: Check, sources: dict[str, Regenerating]) -> Check:
    """What comparing the cells' values and those of report.json found, and the samples generated anew."""
    return Check(
        values=found.values + derived.values,
        cells=cells,
        largest=found.largest,
        differences=[*_shifted(sources), *found.differences, *derived.differences],
        samples=sum(source.samples for source in sources.values()),
        largest_shift=max((source.largest for source in sources.values()), default=0.0),
        notes=[
            f"{name}: not generated anew: {source.left_out}"
            for name, source in sources.items()
            if source.left_out
        ],
    )


def _evaluated_again(
    title: str, result: dict[str, Any], place: CellFolder, splits: Splits, device: str
) -> Iterator[tuple[str, Regenerating, list[_Leaf]]]:
    """For each evaluation of a cell its file, the samples, and every value with the one computed again.

    The last one also has the rows of its metrics that no evaluation gave.

    Raises:
        CheckpointError: the cell file names no evaluation, or a file is missing or damaged.
    """
    written = {_key(row): row["value"] for row in result["rows"]}
    computed: set[tuple[Any, ...]] = set()
    metrics: set[str] = set()
    if not result["run"]["evaluations"]:
        raise CheckpointError(f"{place.result} names no evaluation; remove it and run the comparison again")
    for number, evaluation in enumerate(result["run"]["evaluations"]):
        step = evaluation["step"]
        flow = load_flow(place, None if step == result["setting"]["steps"] else step, device)
        source = Regenerating(flow, evaluation, place.path / evaluation["samples"])
        found = evaluate_again(flow, evaluation, splits, source)
        _check_classifier(evaluation["settings"], found.settings)
        asked = Asked(step, evaluation["samples"], Request(**evaluation["request"]), number == 0)
        again = asked.rows(found, result["setting"]["label"], result["setting"]["seed"])
        name = f"{title}: {evaluation['samples']}"
        computed |= {_key(row) for row in again}
        metrics |= found.metrics.keys()
        leaves = [*_row_leaves(name, written, again), *_info_leaves(name, result, found)]
        if number == len(result["run"]["evaluations"]) - 1:
            added = [key for key in written if key[-1] in metrics - {SECONDS} and key not in computed]
            no_evaluation = f"{title}: a row of no evaluation, of"
            leaves += [_Leaf(f"{no_evaluation} {key[-1]}", written[key], None) for key in added]
        yield name, source, leaves


def _row_leaves(
    title: str, written: dict[tuple[Any, ...], Any], again: list[dict[str, Any]]
) -> Iterator[_Leaf]:
    """Values of rows, but for timings and for metrics that a newer version adds."""
    metrics = {key[-1] for key in written}
    for row in again:
        if row["metric"] != SECONDS and row["metric"] in metrics:
            where = ", ".join(f"{name} {row[name]}" for name in ("nfe", "split") if row[name] is not None)
            value = only_finite(row["value"])
            yield _Leaf(f"{title}: {row['metric']} ({where})", written.get(_key(row)), value)


def _info_leaves(title: str, result: dict[str, Any], found: Result) -> Iterator[_Leaf]:
    """What the metrics are, where the evaluation is of as many samples as the cell file says."""
    for name, info in found.metrics.items():
        written = result["metrics"].get(name, {})
        if written.get("samples") == info.samples:
            yield from _leaves(f"{title}: {name}", written, {key: asdict(info).get(key) for key in written})


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    """Everything of a row but its value."""
    return (*(row[name] for name in COLUMNS if name not in ("value", "metric")), row["metric"])


def _check_classifier(written: dict[str, Any], again: dict[str, Any]) -> None:
    """Refuse to compare values of different classifiers.

    Raises:
        CheckpointError: another classifier evaluated.
    """
    if written["classifier"] != again["classifier"]:
        raise CheckpointError(
            f"the samples were evaluated by {written['classifier']}, here the classifier is "
            f"{again['classifier']}: trained on another machine or with other threads, so the values are not "
            "comparable; keep FLOWPRIOR_CACHE"
        )


def _shifted(sources: dict[str, Regenerating]) -> list[str]:
    """One line for each file whose samples are not those that the flow generates."""
    return [
        f"{name}: the flow generates other samples, which differ by {source.largest:.3g} of their standard "
        f"deviation, more than {SAMPLE_TOLERANCE:g}"
        for name, source in sources.items()
        if not source.largest <= SAMPLE_TOLERANCE
    ]


def _compare(leaves: list[_Leaf], tolerance: float) -> Check:
    values, largest, differences = 0, 0.0, []
    for place, written, again in leaves:
        if isinstance(written, float | int) and isinstance(again, float | int):
            values += 1
            difference = 0.0 if written == again else abs(written - again) / max(abs(written), abs(again))
            largest = max(largest, difference)
            if not difference <= tolerance:
                differences.append(f"{place} is {written:.10g}, computed again {again:.10g}")
        elif written != again:
            differences.append(f"{place} is {written!r}, computed again {again!r}")
    return Check(values, 0, largest, differences)


def _leaves(place: str, written: Any, again: Any) -> Iterator[_Leaf]:
    """Every leaf of two trees with its place; what is in one only is paired with None."""
    if isinstance(written, dict) and isinstance(again, dict):
        for key in dict.fromkeys([*written, *again]):
            yield from _leaves(f"{place}.{key}", written.get(key), again.get(key))
    elif isinstance(written, list) and isinstance(again, list) and len(written) == len(again):
        for number, pair in enumerate(zip(written, again, strict=True)):
            yield from _leaves(f"{place}[{number}]", *pair)
    else:
        yield _Leaf(place, written, again)
