"""Read what a study left on the disk: its plan, the cell files, and what failed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowprior.errors import CheckpointError
from flowprior.evaluation.result import REAL_DATA
from flowprior.study.cell_file import CellFolder, StudyFolder, read_object


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
