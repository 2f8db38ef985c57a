"""Compute every value of a report once more from the saved samples, and some samples from the saved flow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.errors import CheckpointError
from flowprior.evaluation.result import COLUMNS, SECONDS, Result
from flowprior.flow import Flow
from flowprior.samplers import Solution
from flowprior.storage.writing import only_finite
from flowprior.study.cell_file import CellFolder, StudyFolder, collect
from flowprior.study.evaluating import Replay, evaluate_request, kept_rows, load_flow
from flowprior.study.records import Formatted
from flowprior.study.splits import Splits
from flowprior.study.summary import summarise

TOLERANCE = 1e-6
"""Relative; features that are computed with other threads differ by rounding."""
SAMPLE_TOLERANCE = 1e-3
"""Largest difference of samples, in standard deviations of the kept samples' numbers.

They are equal on the same machine with as many threads. Sums that are rounded in another order move them by
about 1e-6, with adaptive samplers by about 1e-4; a flow that is read as another one moves them by about 1.
"""


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
    if not folder.values.is_file():
        raise CheckpointError(
            f"{folder.values} is missing; run the comparison with: flowprior compare --out {folder.path}"
        )
    reported, collection = folder.read(folder.values, Formatted), collect(folder)
    splits, device = Splits.of(collection.grid), collection.grid["training"]["device"]
    found, derived = _Comparison(TOLERANCE), _Comparison(1e-12)
    sources: dict[str, _Regenerating] = {}
    for label, seed, result in collection.cells():
        notify(f"checking {label}, seed {seed}")
        place = collection.places[label, seed]
        sources |= _check_cell(found, f"{label}, seed {seed}", result, place, splits, device)
    derived.add("report.json", reported, only_finite(summarise(collection)))
    left_out = {name: source.left_out for name, source in sources.items() if source.left_out}
    shifted = [
        f"{name}: the flow generates other samples, which differ by {source.largest:.3g} of their standard "
        f"deviation, more than {SAMPLE_TOLERANCE:g}"
        for name, source in sources.items()
        if not source.largest <= SAMPLE_TOLERANCE
    ]
    return Check(
        values=found.values + derived.values,
        cells=len(list(collection.cells())),
        largest=found.largest,
        differences=[*shifted, *found.differences, *derived.differences],
        samples=sum(source.samples for source in sources.values()),
        largest_shift=max((source.largest for source in sources.values()), default=0.0),
        notes=[f"{name}: not generated anew: {reason}" for name, reason in left_out.items()],
    )


@dataclass
class _Comparison:
    """What was written, set against what comes out again; numbers may differ by ``tolerance``, relative."""

    tolerance: float
    values: int = 0
    largest: float = 0.0
    differences: list[str] = field(default_factory=list)

    def add(self, place: str, written: Any, again: Any) -> None:
        """Every number and text of two trees; what is in one only is set against None."""
        if isinstance(written, dict) and isinstance(again, dict):
            for key in dict.fromkeys([*written, *again]):
                self.add(f"{place}.{key}", written.get(key), again.get(key))
        elif isinstance(written, list) and isinstance(again, list) and len(written) == len(again):
            for number, pair in enumerate(zip(written, again, strict=True)):
                self.add(f"{place}[{number}]", *pair)
        elif isinstance(written, float | int) and isinstance(again, float | int):
            self._add_number(place, written, again)
        elif written != again:
            self.differences.append(f"{place} is {written!r}, computed again {again!r}")

    def _add_number(self, place: str, written: float, again: float) -> None:
        self.values += 1
        difference = 0.0 if written == again else abs(written - again) / max(abs(written), abs(again))
        self.largest = max(self.largest, difference)
        if not difference <= self.tolerance:
            self.differences.append(f"{place} is {written:.10g}, computed again {again:.10g}")


def _check_cell(
    found: _Comparison, title: str, result: dict[str, Any], place: CellFolder, splits: Splits, device: str
) -> dict[str, _Regenerating]:
    """Set every value of a cell against the one computed again; the samples of each file, by its name."""
    sources, evaluations, setting = {}, result["run"]["evaluations"], result["setting"]
    written, metrics = {_key(row): row.get("value") for row in result["rows"]}, set()
    unseen = dict(written)
    for number, asked in enumerate(evaluations):
        step, name = asked["step"], f"{title}: {asked['samples']}"
        flow = load_flow(place, None if step == setting["steps"] else step, device)
        sources[name] = _Regenerating(flow, asked, place.path / asked["samples"])
        request = {**asked["request"], "nfe": tuple(asked["spent"])}
        again = evaluate_request(request, flow, splits, sources[name])
        _refuse_other_classifier(asked["settings"]["classifier"], again.settings["classifier"])
        rows = kept_rows(again, number, flow=setting["label"], step=step, seed=setting["seed"])
        _add_rows(found, name, written, rows)
        _add_infos(found, name, result["metrics"], again)
        metrics |= again.metrics.keys()
        for row in rows:
            unseen.pop(_key(row), None)
    for key, value in unseen.items():
        if key[-1] in metrics - {SECONDS}:
            found.add(f"{title}: a row of no evaluation, of {key[-1]}", value, None)
    return sources


def _add_rows(
    found: _Comparison, name: str, written: dict[tuple[Any, ...], Any], again: list[dict[str, Any]]
) -> None:
    """Values of rows, but for timings and for metrics that a newer version adds."""
    known = {key[-1] for key in written} - {SECONDS}
    for row in again:
        if row["metric"] in known:
            where = ", ".join(f"{key} {row[key]}" for key in ("nfe", "split") if row[key] is not None)
            value = only_finite(row["value"])
            found.add(f"{name}: {row['metric']} ({where})", written.get(_key(row)), value)


def _add_infos(found: _Comparison, name: str, metrics: dict[str, Any], again: Result) -> None:
    """What the metrics are, where the evaluation is of as many samples as the cell file says."""
    for metric, info in again.metrics.items():
        written = metrics.get(metric, {})
        if written.get("samples") == info.samples:
            found.add(f"{name}: {metric}", written, {key: asdict(info).get(key) for key in written})


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    """Everything of a row but its value; the metric comes last."""
    return tuple(row.get(name) for name in COLUMNS if name != "value")


def _refuse_other_classifier(written: str | None, again: str | None) -> None:
    if written != again:
        raise CheckpointError(
            f"the samples were evaluated by {written}, here the classifier is {again}: trained on another "
            "machine or with other threads, so the values are not comparable; keep FLOWPRIOR_CACHE"
        )


class _Regenerating(Replay):
    """A replay that has the flow generate anew what took the fewest evaluations, and what took none.

    ``samples`` counts these, ``largest`` is their largest difference in standard deviations of the kept ones;
    ``left_out`` says why there are none.
    """

    def __init__(self, flow: Flow, asked: dict[str, Any], path: Path | str) -> None:
        super().__init__(path, flow.event_shape)
        self._flow, self._batch_size = flow, asked["settings"]["batch_size"]
        counts = [nfe for nfe in self.spent.values() if nfe > 0]
        self._chosen = {0, None if asked["adaptive"] else min(counts, default=0)}
        self.samples, self.largest = 0, 0.0
        then, here = asked["settings"]["device"].partition(":")[0], flow.prior.event_dims.device.type
        same = then == here
        self.left_out = "" if same else f"they were drawn on {then}, and {here} draws other random numbers"

    def __call__(self, cond: Conditions | None = None, n: int | None = None, **options: Any) -> Solution:
        kept = super().__call__(cond, n, **options)
        if options.get("nfe") in self._chosen and not self.left_out:
            # In batches as then: their size decides in which order sums are rounded.
            anew = self._flow.solve(cond, n, **{**options, "batch_size": self._batch_size})
            self.samples += len(kept.x)
            self.largest = max(self.largest, _difference(kept.x, anew.x))
        return kept


def _difference(kept: Tensor, anew: Tensor) -> float:
    """Largest difference, in standard deviations of ``kept``; infinite where it is none, or shapes differ."""
    kept, anew = kept.detach().cpu().double(), anew.detach().cpu().double()
    if kept.shape != anew.shape:
        return float("inf")
    if torch.equal(kept, anew):
        return 0.0
    spread = kept.std(correction=0).clamp_min(torch.finfo(torch.float32).tiny)
    return float(((kept - anew).abs().max() / spread).nan_to_num(nan=float("inf"), posinf=float("inf")))
