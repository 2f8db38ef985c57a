"""The files of a study, and how they are read: its folders, and the result file of each run.

A result file is one JSON object::

    format    3
    setting   what decides the training, as flat plain values: label, prior, coupling, path, seed, steps, …
    run       the machine, versions, costs, and the terms of each evaluation
    metrics   name of a metric -> what it is
    rows      the long table of the run's values, see flowprior.evaluation.Result

In ``rows``, ``step`` is None for the trained flow and counts steps for the flows on the way to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flowprior.errors import CheckpointError
from flowprior.evaluation.result import COLUMNS, REAL_DATA
from flowprior.storage.digests import PATIENCE
from flowprior.storage.lock import FolderLock
from flowprior.storage.user_paths import expanded
from flowprior.storage.writing import write_json
from flowprior.study.records import Failure, Plan, Record, ResultFile, read_record

MACHINE = ("version", "commit", "python", "torch", "device", "device_name", "threads")
"""The keys of a result file's ``run`` that describe the machine."""


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
        """The folder of one run."""
        return RunFolder(self.path / "cells" / name, key)

    def read_plan(self) -> dict[str, Any]:
        """Return the plan of the last run.

        Raises:
            CheckpointError: nothing was run here; or as :meth:`read`.
        """
        if not self.plan.is_file():
            raise CheckpointError(
                f"{self.path} holds no comparison; run one with: flowprior compare --out {self.path}"
            )
        return self.read(self.plan, Plan)

    def read_result(self, place: RunFolder) -> dict[str, Any] | None:
        """Return the result file of a run; None where it has none.

        Raises:
            CheckpointError: as :meth:`read`, or it is that of another run.
        """
        if not place.result.is_file():
            return None
        found = self.read(place.result, ResultFile)
        if found["key"] != place.key:
            raise CheckpointError(
                f"{place.result} is another run's: expected the key {place.key}, got {found['key']}; remove "
                f"it and run again: flowprior compare --out {self.path}"
            )
        return found

    def read(self, path: Path, kind: type[Record]) -> dict[str, Any]:
        """Return the object in a file of this study, which holds a ``kind``.

        Raises:
            CheckpointError: it is missing, damaged or of another format.
        """
        return read_record(path, kind, f"flowprior compare --out {self.path}")


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
        self.training = path / "training"  # of a trainer of the grid's
        self.flow = self.run / "flow"
        self.facts = path / "trained.json"
        self.flows = path / "flows"
        self.result = path / f"result-{key}.json"
        self.failure = path / f"failure-{key}.json"

    def lock(self) -> FolderLock:
        """Return a context that owns this run, whatever the key; one process has it at a time.

        Raises:
            OptionError: another process does.
        """
        own = ("result-*.json", "failure-*.json", "samples-*.safetensors", self.facts.name)
        return FolderLock(self.path, quiet=True, own=own)

    def samples(self, what: str) -> Path:
        """The file of the samples behind one evaluation."""
        return self.path / f"samples-{self.key}-{what}.safetensors"

    def flow_at(self, step: int | None) -> Path:
        """The flow with averaged weights after ``step`` steps; None is the trained one."""
        return self.flow if step is None else self.flows / f"step-{step:06d}"


@dataclass
class Collection:
    """The present state of a study; a run is known by its variant's label and its seed.

    Attributes:
        grid: as plan.json has it.
        samplers: label -> spec of every sampler; ``"auto"`` where variants have different ones.
        variants: as plan.json has them.
        results: label -> seed -> content of the result file.
        failures: (label, seed) -> message.
        waiting: (label, seed) of the runs with neither result nor failure.
        places: (label, seed) -> folder of every run.
    """

    grid: dict[str, Any]
    samplers: dict[str, str]
    variants: list[dict[str, Any]]
    results: dict[str, dict[int, dict[str, Any]]] = field(default_factory=dict)
    failures: dict[tuple[str, int], str] = field(default_factory=dict)
    waiting: list[tuple[str, int]] = field(default_factory=list)
    places: dict[tuple[str, int], RunFolder] = field(default_factory=dict)

    @property
    def labels(self) -> list[str]:
        """Labels of the variants that the library does not refuse, in the grid's order."""
        return [variant["label"] for variant in self.variants if variant["skipped"] is None]

    def runs(self) -> Iterator[tuple[str, int, dict[str, Any]]]:
        """Label, seed and content of every result file, variant by variant."""
        for label, row in self.results.items():
            yield from ((label, seed, result) for seed, result in row.items())

    def rows(self) -> Iterator[dict[str, Any]]:
        """The long table of all runs; ``flow`` is the variant's label, ``sampler`` the grid's label."""
        of_variant = {v["label"]: {spec: name for name, spec in v["samplers"].items()} for v in self.variants}
        for label, _, result in self.runs():
            names = of_variant[label]
            for row in result["rows"]:
                own = {} if row.get("flow") == REAL_DATA else {"flow": label}
                sampler = row.get("sampler")
                yield dict.fromkeys(COLUMNS) | row | own | {"sampler": names.get(sampler, sampler)}

    def samples_file(self, label: str, seed: int) -> Path:
        """File of the samples of the first evaluation of a run that has a result."""
        evaluation = self.results[label][seed]["run"]["evaluations"][0]
        return self.places[label, seed].path / evaluation["samples"]


def collect(folder: StudyFolder) -> Collection:
    """Read plan, results and failures.

    Raises:
        CheckpointError: there is no study, or a file is damaged or of another format.
    """
    plan = folder.read_plan()
    found = Collection(plan["grid"], plan["samplers"], plan["variants"])
    for variant in plan["variants"]:
        label = variant["label"]
        row = found.results.setdefault(label, {})
        for run in variant["cells"]:
            seed, place = run["seed"], folder.run(run["name"], run["key"])
            found.places[label, seed] = place
            if (result := folder.read_result(place)) is not None:
                row[seed] = result
            elif place.failure.is_file():
                found.failures[label, seed] = folder.read(place.failure, Failure)["error"]
            else:
                found.waiting.append((label, seed))
    return found


def write_object(path: Path, value: dict[str, Any]) -> None:
    """Write an object as JSON in one move; numbers that are not finite become null.

    Raises:
        CheckpointError: the file cannot be written.
    """
    write_json(path, value, indent=1, finite=True)
