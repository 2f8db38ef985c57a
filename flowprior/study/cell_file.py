"""What a study leaves on the disk, and how it is read: folders, the file of each trained cell, all of them.

A cell file is one JSON object::

    format    3
    setting   what decides the training, as flat plain values: label, prior, coupling, path, seed, steps, …
    run       the machine, versions, costs, and what each evaluation was asked
    metrics   name of a metric -> what it is
    rows      the long table of the cell's values, see flowprior.evaluation.Result

In ``rows``, ``step`` is None for the trained flow and counts steps for the flows on the way to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowprior.errors import CheckpointError
from flowprior.evaluation.result import REAL_DATA
from flowprior.storage import read_json, write_json

FORMAT = 3
"""Of plan, cell files and report.

Format 1 evaluated residual and epsilon flows as if their networks gave the velocity, and knew no NFE 0;
format 2 held one row for each number of evaluations.
"""
LIMIT = 256 << 20
"""Longest file that is read, in bytes."""


class StudyFolder:
    """Names of the files of one study.

    Args:
        path: the directory OUT.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.grid = self.path / "grid.toml"
        self.plan = self.path / "plan.json"
        self.report = self.path / "report.html"
        self.values = self.path / "report.json"

    def cell(self, name: str, key: str) -> CellFolder:
        """The folder of one cell."""
        return CellFolder(self.path / "cells" / name, key)

    def read_plan(self) -> dict[str, Any]:
        """What the last run set out to do.

        Raises:
            CheckpointError: nothing was run here, the file is damaged, or of another format.
        """
        if not self.plan.is_file():
            raise CheckpointError(
                f"{self.path} holds no comparison; run one with: flowprior compare --out {self.path}"
            )
        return self.read(self.plan)

    def read(self, path: Path) -> dict[str, Any]:
        """The object in a file of this study: its plan, a cell file or the report.

        Raises:
            CheckpointError: it is missing or damaged, or of another format.
        """
        found = read_object(path)
        written = found.get("format")
        if written == FORMAT:
            return found
        reasons = {1: "judged residual and epsilon flows wrongly", 2: "an older flowprior wrote"}
        reason = reasons.get(written, "is another one") if isinstance(written, int) else "is another one"
        raise CheckpointError(
            f"{path} has format {written}, which {reason}; this flowprior has format {FORMAT}: evaluate the "
            f"trained flows again with: flowprior compare --out {self.path}"
        )


class CellFolder:
    """Names of the files of one cell.

    Args:
        path: OUT/cells/NAME.
        key: of the cell; files of other keys are those of other ways of evaluating the same flow.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        self.key = key
        self.run = path / "run"
        self.flow = self.run / "flow"
        self.facts = path / "trained.json"
        self.flows = path / "flows"
        self.result = path / f"result-{key}.json"
        self.failure = path / f"failure-{key}.json"

    def samples(self, what: str) -> Path:
        """The file of the samples behind one evaluation."""
        return self.path / f"samples-{self.key}-{what}.safetensors"

    def flow_at(self, step: int) -> Path:
        """The flow with averaged weights after ``step`` steps."""
        return self.flows / f"step-{step:06d}"


@dataclass
class Collection:
    """A study as it stands.

    Attributes:
        grid: as plan.json has it.
        samplers: label -> spec of every sampler.
        variants: as plan.json has them.
        results: variant's label -> seed -> content of the cell file.
        failures: (variant's label, seed) -> message.
    """

    grid: dict[str, Any]
    samplers: dict[str, str]
    variants: list[dict[str, Any]]
    results: dict[str, dict[int, dict[str, Any]]]
    failures: dict[tuple[str, int], str]

    @property
    def labels(self) -> list[str]:
        """Labels of the variants that the library does not refuse, in the grid's order."""
        return [variant["label"] for variant in self.variants if variant["skipped"] is None]

    @property
    def waiting(self) -> list[tuple[str, int]]:
        """(label, seed) of the cells with neither result nor failure."""
        every = [(variant["label"], cell["seed"]) for variant in self.variants for cell in variant["cells"]]
        return [one for one in every if one[1] not in self.results[one[0]] and one not in self.failures]

    def all_results(self) -> list[dict[str, Any]]:
        """Every cell file, variant by variant."""
        return [result for row in self.results.values() for result in row.values()]

    def rows(self) -> Iterator[dict[str, Any]]:
        """The long table of all cells; ``flow`` is the variant's label, ``sampler`` the grid's label."""
        names = {spec: name for name, spec in self.samplers.items()}
        for label, results in self.results.items():
            for result in results.values():
                for row in result["rows"]:
                    own = {} if row["flow"] == REAL_DATA else {"flow": label}
                    yield row | own | {"sampler": names.get(row["sampler"], row["sampler"])}


def collect(folder: StudyFolder) -> Collection:
    """Read plan, results and failures.

    Raises:
        CheckpointError: there is no study, or a file is damaged or of another format.
    """
    plan = folder.read_plan()
    collection = Collection(plan["grid"], plan["samplers"], plan["variants"], {}, {})
    for variant in plan["variants"]:
        row = collection.results.setdefault(variant["label"], {})
        for cell in variant["cells"]:
            place = folder.cell(cell["name"], cell["key"])
            if place.result.is_file():
                row[cell["seed"]] = folder.read(place.result)
            elif place.failure.is_file():
                collection.failures[variant["label"], cell["seed"]] = read_object(place.failure)["error"]
    return collection


def find_cell(folder: StudyFolder, collection: Collection, label: str, seed: int) -> CellFolder:
    """The folder of a cell that has a result.

    Raises:
        CheckpointError: the cell has no result.
    """
    cells = [c for variant in collection.variants if variant["label"] == label for c in variant["cells"]]
    cell = next((cell for cell in cells if cell["seed"] == seed), None)
    if cell is None or seed not in collection.results[label]:
        raise CheckpointError(f"{folder.path} has no result of {label}, seed {seed}")
    return folder.cell(cell["name"], cell["key"])


def samples_file(folder: StudyFolder, collection: Collection, label: str, seed: int, number: int) -> Path:
    """File of the samples of the ``number``-th sampler.

    Raises:
        CheckpointError: the cell has no result.
    """
    place = find_cell(folder, collection, label, seed)
    return place.path / collection.results[label][seed]["run"]["evaluations"][number]["samples"]


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    try:
        return read_json(path, LIMIT)
    except CheckpointError as error:
        raise CheckpointError(f"{path} is missing or damaged ({error}); remove it and run again") from error


def write_object(path: Path, value: dict[str, Any]) -> None:
    """Write an object as JSON in one move; numbers that are not finite become null.

    Raises:
        CheckpointError: the file cannot be written.
    """
    write_json(path, value, indent=1, finite=True)
