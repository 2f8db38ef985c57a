"""Read what a comparison left on the disk into one structure of plain figures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from flowprior.errors import CheckpointError
from flowprior.study.folder import CellFolder, ComparisonFolder, read_json

OWN_NFE = math.inf
"""Stands for the number of evaluations that an adaptive sampler chooses itself; comes after every number."""


class Place(NamedTuple):
    """Where a figure was measured: sampler's label, NFE (or :data:`OWN_NFE`), and the step of the flow."""

    sampler: str
    nfe: float
    step: int


@dataclass
class Figures:
    """Every figure of one variant: metric -> place -> seed -> figure.

    ``nfe`` and ``seconds`` are among the metrics: what was spent, and how long that took.
    """

    values: dict[str, dict[Place, dict[int, float]]] = field(default_factory=dict)

    def add(self, metric: str, place: Place, seed: int, value: float) -> None:
        """Note one figure."""
        self.values.setdefault(metric, {}).setdefault(place, {})[seed] = value

    def at(self, metric: str, place: Place) -> dict[int, float]:
        """seed -> figure; empty where there is none."""
        return self.values.get(metric, {}).get(place, {})


@dataclass
class Collection:
    """A comparison as it stands.

    Attributes:
        grid: as plan.json has it.
        variants: as plan.json has them.
        results: variant's label -> seed -> content of the result file.
        failures: (variant's label, seed) -> message.
    """

    grid: dict[str, Any]
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
        return [
            (variant["label"], cell["seed"])
            for variant in self.variants
            for cell in variant["cells"]
            if cell["seed"] not in self.results[variant["label"]]
            and (variant["label"], cell["seed"]) not in self.failures
        ]

    def all_results(self) -> list[dict[str, Any]]:
        """Every result, variant by variant."""
        return [result for row in self.results.values() for result in row.values()]


def collect(folder: ComparisonFolder) -> Collection:
    """Read plan, results and failures.

    Raises:
        CheckpointError: there is no comparison, or a file is damaged or of another format.
    """
    plan = folder.read_plan()
    collection = Collection(plan["grid"], plan["variants"], {}, {})
    for variant in plan["variants"]:
        row = collection.results.setdefault(variant["label"], {})
        for cell in variant["cells"]:
            place = cell_folder(folder, cell)
            if place.result.is_file():
                row[cell["seed"]] = folder.read(place.result)
            elif place.failure.is_file():
                collection.failures[variant["label"], cell["seed"]] = read_json(place.failure)["error"]
    return collection


def cell_folder(folder: ComparisonFolder, cell: dict[str, Any]) -> CellFolder:
    """The folder of a cell of plan.json."""
    return CellFolder(folder.path / "cells" / cell["name"], cell["key"])


def quality_figures(collection: Collection, label: str) -> Figures:
    """Figures of the trained flows of one variant, at every sampler and NFE."""
    figures = Figures()
    names = {spec: name for name, spec in collection.grid["samplers"].items()}
    for seed, result in collection.results[label].items():
        step = result["config"]["training"]["steps"]
        for judged in result["evaluations"]:
            _add(figures, judged, names[judged["request"]["sampler"]], seed, step)
    return figures


def curve_figures(collection: Collection, label: str) -> Figures:
    """Figures of one variant's flows on the way, by the first sampler."""
    figures = Figures()
    sampler = next(iter(collection.grid["samplers"]))
    for seed, result in collection.results[label].items():
        for judged in result["curve"]:
            _add(figures, judged, sampler, seed, judged["step"])
    return figures


def flow_figures(collection: Collection, label: str) -> Figures:
    """Figures of one variant's flows themselves, which no sampler and no NFE changes, such as curvature."""
    figures = Figures()
    sampler = next(iter(collection.grid["samplers"]))
    for seed, result in collection.results[label].items():
        place = Place(sampler, 0, result["config"]["training"]["steps"])
        for metric, value in result["evaluations"][0].get("flow_figures", {}).items():
            if isinstance(value, int | float):
                figures.add(metric, place, seed, float(value))
    return figures


def _add(figures: Figures, judged: dict[str, Any], sampler: str, seed: int, step: int) -> None:
    for row in judged["rows"]:
        own = judged["adaptive"] and row["nfe"] > 0
        place = Place(sampler, OWN_NFE if own else int(row["nfe"]), step)
        for metric, value in row.items():
            if isinstance(value, int | float):
                figures.add(metric, place, seed, float(value))


def judged_of(result: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every evaluation in a result: of the trained flow, then of those on the way."""
    yield from result["evaluations"]
    yield from result["curve"]


def samples_file(
    folder: ComparisonFolder, collection: Collection, label: str, seed: int, number: int
) -> Path:
    """File of the samples of the ``number``-th sampler.

    Raises:
        CheckpointError: the cell has no result.
    """
    variant = next(variant for variant in collection.variants if variant["label"] == label)
    cell = next((cell for cell in variant["cells"] if cell["seed"] == seed), None)
    if cell is None or seed not in collection.results[label]:
        raise CheckpointError(f"{folder.path} has no result of {label}, seed {seed}")
    name = collection.results[label][seed]["evaluations"][number]["samples"]
    return cell_folder(folder, cell).path / name
