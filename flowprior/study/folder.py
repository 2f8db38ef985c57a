"""The files of a study: its plan, the result of each run, and what is read of them.

A file may be damaged, of another version, or somebody else's: one that does not hold what the classes here
list is refused in one line.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from flowprior.errors import CheckpointError
from flowprior.evaluation.result import COLUMNS, REAL_DATA
from flowprior.evaluation.summary import SIGNS
from flowprior.flow.files import CHECKPOINTS
from flowprior.metrics.base import MetricInfo
from flowprior.storage.digests import PATIENCE
from flowprior.storage.lock import FolderLock
from flowprior.storage.reading import read_bytes, read_text
from flowprior.storage.user_paths import expanded
from flowprior.storage.writing import write_json
from flowprior.study.runs import FORMAT, Plan
from flowprior.training.config import CHECKED

LIMIT = 256 << 20
"""The size in bytes of the longest file that is read."""
COSTS = ("prior_fit_seconds", "prior_bytes", "seconds_per_step", "transport_cost", "transport_cost_unpaired")
"""The facts of a run that are averaged over seeds."""
T = TypeVar("T")
Number = Annotated[float, Field(allow_inf_nan=False)]
Whole = Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)]
"""A whole number that a table can hold."""
Scalar = str | bool | Whole | Number | None


COLUMN_TYPES: dict[str, Any] = {
    **dict.fromkeys(("flow", "sampler", "grid", "split", "reference", "features"), str | None),
    **dict.fromkeys(("seed", "step"), int | None),
    **dict.fromkeys(("nfe", "guidance", "samples", "value"), int | float | None),
    "metric": str,
}
"""The types of the columns of the long table, but for the condition, which may be any scalar."""


def _typed(row: dict[str, Any]) -> dict[str, Any]:
    if wrong := [name for name, kind in COLUMN_TYPES.items() if not isinstance(row.get(name), kind)]:
        raise ValueError(f"expected another {wrong[0]}")
    return row


def _known_side(info: MetricInfo) -> MetricInfo:
    if info.better not in SIGNS:
        raise ValueError(f"expected better to be one of {', '.join(SIGNS)}")
    return info


def _with_costs(facts: dict[str, Any]) -> dict[str, Any]:
    if texts := [name for name in COSTS if isinstance(facts.get(name), str)]:
        raise ValueError(f"expected {texts[0]} to be a number")
    return facts


@dataclass(frozen=True, config=CHECKED)
class RunResult:
    """The content of ``result-KEY.json``."""

    key: str
    """The key of the run."""
    setting: dict[str, Scalar]
    """The settings that decide the training: label, prior, coupling, seed, steps and others."""
    facts: Annotated[dict[str, Scalar], AfterValidator(_with_costs)]
    """Commit, versions, machine and costs; see :data:`flowprior.study.table.FACTS`."""
    settings: dict[str, Scalar | list[str]]
    """The terms of the evaluation: reference, features and versions."""
    metrics: dict[str, Annotated[MetricInfo, AfterValidator(_known_side)]]
    """The name of a metric -> what it is."""
    rows: Annotated[list[Annotated[dict[str, Scalar], AfterValidator(_typed)]], Field(min_length=1)]
    """The long table; ``step`` is None for the trained flow and counts steps for the flows on the way."""
    notes: list[str] = Field(default_factory=list)
    """The metrics and samplers that the evaluation left out, and why."""
    format: Literal[4] = FORMAT


class StudyFolder:
    """Names of the files of one study, in the directory ``path``."""

    def __init__(self, path: str | Path) -> None:
        self.path = expanded(path)
        self.grid = self.path / "grid.toml"
        self.plan = self.path / "plan.json"
        self.report = self.path / "report.html"
        self.values = self.path / "report.json"
        self.results = self.path / "results.csv"

    def lock(self) -> FolderLock:
        """Return a context that owns the files of the study itself, for a short time; runs have their own."""
        files = (self.grid, self.plan, self.report, self.values, self.results)
        return FolderLock(self.path, PATIENCE, quiet=True, own=[path.name for path in files])

    def run(self, name: str, key: str) -> RunFolder:
        """Return the folder of one run."""
        return RunFolder(self.path / "cells" / name, key)

    def read_plan(self) -> Plan:
        """Return the plan of the last run.

        Raises:
            CheckpointError: nothing was run here; or as :meth:`read`.
        """
        if not self.plan.is_file():
            raise CheckpointError(
                f"{self.path} holds no comparison; run one with: flowprior compare --out {self.path}"
            )
        return self.read(self.plan, Plan)

    def read_result(self, place: RunFolder) -> RunResult | None:
        """Return the result of a run; None if it has none.

        Raises:
            CheckpointError: as :meth:`read`, or it is that of another run.
        """
        if not place.result.is_file():
            return None
        found = self.read(place.result, RunResult)
        if found.key != place.key:
            raise CheckpointError(
                f"{place.result} is another run's: expected the key {place.key}, got {found.key}; remove it "
                f"and run again: flowprior compare --out {self.path}"
            )
        return found

    def read(self, path: Path, kind: type[T]) -> T:
        """Return what a file of this study holds.

        Raises:
            CheckpointError: it is missing or damaged, of another format, or holds something else.
        """
        try:
            return TypeAdapter(kind).validate_json(read_bytes(path, LIMIT))
        except (CheckpointError, ValidationError) as error:
            why = _first(error) if isinstance(error, ValidationError) else error
            raise CheckpointError(
                f"{path} is damaged or of another version ({why}); remove it and run again: "
                f"flowprior compare --out {self.path}"
            ) from error


def _first(error: ValidationError) -> str:
    """Return the place of the first mistake, what was expected there, and what came."""
    first = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    return " ".join(f"{place}: {message}, got {repr(first['input'])[:40]}".split())


class RunFolder:
    """Names of the files of one run.

    Args:
        path: OUT/cells/NAME.
        key: of the run; files of other keys are those of other ways of evaluating the same flow.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        self.key = key
        self.latents = path.parent.parent / "latents"
        self.run = path / "run"
        self.flow = self.run / "flow"
        self.result = path / f"result-{key}.json"
        self.failure = path / f"failure-{key}.txt"

    def lock(self) -> FolderLock:
        """Return a context that owns this run, whatever the key; one process has it at a time.

        Raises:
            FolderBusy: another process does.
        """
        return FolderLock(self.path, quiet=True, own=("result-*.json", "failure-*.txt"))

    def flow_at(self, step: int | None) -> Path:
        """Return the flow, with averaged weights, after ``step`` steps; None is the trained one."""
        return self.flow if step is None else self.run / CHECKPOINTS / f"step-{step:06d}"


@dataclass
class Study:
    """The present state of a study; a run is known by its variant's label and its seed."""

    plan: Plan
    """The grid, its variants and their runs."""
    results: dict[str, dict[int, RunResult]] = field(default_factory=dict)
    """Label -> seed -> result."""
    failures: dict[tuple[str, int], str] = field(default_factory=dict)
    """(Label, seed) -> why the run failed, in one line."""
    waiting: list[tuple[str, int]] = field(default_factory=list)
    """(Label, seed) of the runs with neither result nor failure."""

    def runs(self) -> list[RunResult]:
        """Return every result, variant by variant."""
        return [result for row in self.results.values() for result in row.values()]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the long table of all runs; ``flow`` is the variant's label, ``sampler`` the grid's label."""
        for variant in self.plan.variants:
            names: dict[Any, Any] = {spec: name for name, spec in variant.samplers.items()}
            for seed, result in self.results[variant.label].items():
                for row in result.rows:
                    own = {} if row.get("flow") == REAL_DATA else {"flow": variant.label}
                    own |= {"seed": seed, "sampler": names.get(row.get("sampler"), row.get("sampler"))}
                    yield dict.fromkeys(COLUMNS) | row | own


def read_study(folder: StudyFolder) -> Study:
    """Return plan, results and failures.

    Raises:
        CheckpointError: there is no study, or a file is damaged or of another format.
    """
    plan = folder.read_plan()
    found = Study(plan, {variant.label: {} for variant in plan.variants})
    for variant in plan.variants:
        for run in variant.runs:
            place = folder.run(run.name, run.key)
            if (result := folder.read_result(place)) is not None:
                found.results[variant.label][run.seed] = result
            elif place.failure.is_file():
                found.failures[variant.label, run.seed] = read_text(place.failure).partition("\n")[0]
            else:
                found.waiting.append((variant.label, run.seed))
    return found


def write_object(path: Path, value: Any) -> None:
    """Write a dataclass or dictionary as JSON in one move; numbers that are not finite become null.

    Raises:
        CheckpointError: the file cannot be written.
    """
    write_json(path, value if isinstance(value, dict) else asdict(value), indent=1, finite=True)
