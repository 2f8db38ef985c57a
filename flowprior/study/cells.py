"""The cells of a grid: one variant and seed each, named by a hash of all that determines it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from flowprior.data.base import Data
from flowprior.registry import package_version
from flowprior.study.folder import FORMAT
from flowprior.study.grid import Grid
from flowprior.study.variants import Variant
from flowprior.training.config import RunConfig
from flowprior.training.run import MAY_CHANGE

PROBED = 4096
KEEP_ALL = 1_000_000


@dataclass(frozen=True)
class Cell:
    """One training run and what is asked of it.

    Attributes:
        variant: prior, coupling and path.
        seed: of training and evaluation.
        config: what is trained, and how.
        samplers: specs of those that judge it.
        curve: steps at which the flow on the way is judged.
        name: of its directory: components, seed, and a hash of all that determines the training.
        key: hash of all that determines its figures: the training and how it is judged.
    """

    variant: Variant
    seed: int
    config: RunConfig
    samplers: tuple[str, ...]
    curve: tuple[int, ...]
    name: str
    key: str

    @property
    def title(self) -> str:
        """As messages call it."""
        return f"{self.variant.label}, seed {self.seed}"


def make_cell(
    grid: Grid, variant: Variant, seed: int, samplers: Sequence[str], identity: Mapping[str, Any]
) -> Cell:
    """One cell of the grid.

    Args:
        grid: the grid.
        variant: prior, coupling and path.
        seed: one of the grid's.
        samplers: specs of those that can serve the variant; without the grid's first one there is no curve.
        identity: what :func:`data_identity` says of the data.
    """
    every = grid.curve.every(grid.training.steps)
    budget = replace(grid.training, seed=seed)
    if every:
        budget = replace(budget, checkpoint_every=every, keep_checkpoints=KEEP_ALL)
    config = RunConfig(grid.data, variant.prior, variant.coupling, variant.path, grid.model, budget)
    free = MAY_CHANGE - {"training.steps"}
    trained = {key: value for key, value in config.flat().items() if key not in free}
    training = _hash({"flowprior": package_version(), "identity": identity, "curve": every, **trained})
    judged = {name: grid.as_dict()[name] for name in ("nfe", "samples", "guidance", "curve", "evaluation")}
    names = [spec.partition(":")[0] for spec in (variant.prior, variant.coupling, variant.path)]
    has_curve = next(iter(grid.samplers.values())) in samplers
    return Cell(
        variant=variant,
        seed=seed,
        config=config,
        samplers=tuple(samplers),
        curve=tuple(grid.curve.steps(grid.training.steps)) if has_curve else (),
        name=f"{'+'.join(names)}-seed{seed}-{training[:10]}",
        key=_hash({"format": FORMAT, "training": training, "samplers": list(samplers), **judged})[:10],
    )


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


def _hash(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()
