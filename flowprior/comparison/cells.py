"""The cells of a grid: every prior × coupling × path × seed, its name, and why one is not possible."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from flowprior.comparison.grid import Grid
from flowprior.couplings import Coupling
from flowprior.data.base import Data
from flowprior.errors import FlowpriorError
from flowprior.paths import Path
from flowprior.priors import Prior
from flowprior.training.config import RunConfig
from flowprior.training.run import MAY_CHANGE
from flowprior.training.run_info import package_version

PROBED = 4096
KEEP_ALL = 1_000_000


@dataclass(frozen=True)
class Variant:
    """One prior × coupling × path, whatever the seed.

    Attributes:
        label: as the report calls it, such as ``"gmm + ot"``.
        prior: spec.
        coupling: spec.
        path: spec.
        labels: labels of the three.
    """

    label: str
    prior: str
    coupling: str
    path: str
    labels: tuple[str, str, str]

    def refusal(self, batch_size: int) -> str | None:
        """Why the library refuses this combination, in one line; None where it does not."""
        prior, coupling, path = (
            family.registry.resolve(spec)
            for family, spec in ((Prior, self.prior), (Coupling, self.coupling), (Path, self.path))
        )
        try:
            path.check(prior)
            coupling.check(prior)
        except FlowpriorError as error:
            return " ".join(str(error).split())
        drawn = coupling.draw_size(batch_size)
        if drawn < batch_size or drawn % batch_size:
            return f"the coupling draws {drawn} pairs at once, no multiple of batch_size={batch_size}"
        return None


@dataclass(frozen=True)
class Cell:
    """One training run and what is asked of it.

    Attributes:
        variant: prior, coupling and path.
        seed: of training and evaluation.
        config: what is trained, and how.
        name: of its directory: components, seed, and a hash of all that determines the training.
        key: hash of all that determines its figures: the training and how it is judged.
    """

    variant: Variant
    seed: int
    config: RunConfig
    name: str
    key: str

    @property
    def title(self) -> str:
        """As messages call it."""
        return f"{self.variant.label}, seed {self.seed}"


def variants(grid: Grid) -> list[Variant]:
    """Every prior × coupling × path of the grid; the path is named where there are several."""
    found = []
    for prior, prior_spec in grid.priors.items():
        for coupling, coupling_spec in grid.couplings.items():
            for path, path_spec in grid.paths.items():
                names = (prior, coupling, path) if len(grid.paths) > 1 else (prior, coupling)
                specs = (prior_spec, coupling_spec, path_spec)
                found.append(Variant(" + ".join(names), *specs, labels=(prior, coupling, path)))
    return found


def cells(grid: Grid, variant: Variant, data: Mapping[str, Any]) -> list[Cell]:
    """One cell for each seed of the grid.

    Args:
        grid: the grid.
        variant: one of :func:`variants`.
        data: what :func:`data_identity` says of the data.
    """
    return [_cell(grid, variant, seed, data) for seed in grid.seeds]


def data_identity(train: Data, test: Data) -> dict[str, Any]:
    """Size, shape and a checksum of both splits.

    The checksum is over 4,096 examples spread evenly: data that are read from files are not read whole.
    """
    return {"train": _identity(train), "test": _identity(test)}


def _identity(data: Data) -> list[Any]:
    indices = torch.arange(0, len(data), max(1, len(data) // PROBED))
    digest = hashlib.sha256()
    for part in indices.split(512):
        for tensor in data.batch(part):
            if tensor is not None:
                digest.update(tensor.contiguous().numpy().data)
    return [len(data), list(data.event_shape), data.condition.describe(), digest.hexdigest()]


def _cell(grid: Grid, variant: Variant, seed: int, data: Mapping[str, Any]) -> Cell:
    curve = grid.curve.every(grid.training.steps)
    budget = replace(grid.training, seed=seed)
    if curve:
        budget = replace(budget, checkpoint_every=curve, keep_checkpoints=KEEP_ALL)
    config = RunConfig(grid.data, variant.prior, variant.coupling, variant.path, grid.model, budget)
    free = MAY_CHANGE - {"training.steps"}
    trained = {key: value for key, value in config.flat().items() if key not in free}
    training = _hash({"flowprior": package_version(), "identity": data, "curve": curve, **trained})
    judged = {name: grid.as_dict()[name] for name in ("samplers", "nfe", "samples", "guidance", "curve")}
    # A sampler's label is only how the report calls it.
    judged["samplers"] = list(grid.samplers.values())
    names = [spec.partition(":")[0] for spec in (variant.prior, variant.coupling, variant.path)]
    name = f"{'+'.join(names)}-seed{seed}-{training[:10]}"
    return Cell(variant, seed, config, name, _hash({"training": training, **judged})[:10])


def _hash(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()
