"""The variants of a grid, their cells of one seed each, and the plan of what is to be run of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from typing import Any

from flowprior.errors import OptionError
from flowprior.registry import package_version
from flowprior.study.cell_file import FORMAT
from flowprior.study.grid import Grid
from flowprior.study.splits import Splits
from flowprior.study.variants import Variant
from flowprior.training.components import choose_defaults
from flowprior.training.config import DEFAULT_PREDICTION, RunConfig
from flowprior.training.run import MAY_CHANGE

KEEP_ALL = 1_000_000
EVALUATED = (
    *("nfe", "samples", "guidance", "curve", "evaluation", "conditions"),
    *("validation", "values", "evaluation_seed"),
)
"""Keys of a grid that decide how a trained cell is evaluated."""


def variants(grid: Grid) -> list[Variant]:
    """Those that the grid names, or else every prior × coupling × path; the path is named among several."""
    if grid.variants:
        return [_named_variant(grid, label, parts) for label, parts in grid.variants.items()]
    found = []
    for labels in product(grid.priors, grid.couplings, grid.paths):
        name = " + ".join(labels if len(grid.paths) > 1 else labels[:2])
        specs = (grid.priors[labels[0]], grid.couplings[labels[1]], grid.paths[labels[2]])
        chosen = _chosen(grid, *specs)
        found.append(Variant(name, *specs[:1], *chosen, labels, grid.samplers, grid.trainer))
    return found


def sampler_labels(grid: Grid) -> dict[str, str]:
    """label -> spec of every sampler, in the order of the variants that it evaluates."""
    return {label: spec for variant in variants(grid) for label, spec in variant.samplers.items()}


def _named_variant(grid: Grid, label: str, parts: Mapping[str, str]) -> Variant:
    budget = grid.training
    if parts["prediction"] != DEFAULT_PREDICTION:
        budget = replace(budget, prediction=parts["prediction"])
    chosen = _chosen(replace(grid, training=budget), parts["prior"], parts["coupling"], parts["path"])
    known = {spec: name for name, spec in grid.samplers.items()}
    sampler = parts["sampler"]
    samplers = {known.get(sampler, sampler): sampler} if sampler else grid.samplers
    labels = (label, parts["coupling"].partition(":")[0], parts["path"].partition(":")[0])
    trainer = parts["trainer"] or grid.trainer
    return Variant(label, parts["prior"], *chosen, labels, samplers, trainer)


def _chosen(grid: Grid, prior: str, coupling: str, path: str) -> tuple[str, str, str]:
    """Coupling, path and prediction, with what ``train`` chooses where the grid says ``auto``."""
    asked = RunConfig(prior=prior, coupling=coupling, path=path, model=grid.model, training=grid.training)
    chosen = choose_defaults(asked, prior, coupling)
    return chosen.coupling, path, chosen.training.prediction


@dataclass(frozen=True)
class Cell:
    """One training run and what is asked of it.

    Attributes:
        variant: prior, coupling and path.
        seed: of training and evaluation.
        config: what is trained, and how.
        samplers: specs of those that evaluate it.
        curve: steps at which the flow on the way is evaluated.
        name: of its directory: components, seed, and a hash of all that determines the training.
        key: hash of all that determines its values: the training and how it is evaluated.
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

    @property
    def setting(self) -> dict[str, Any]:
        """What decides the training, as flat plain values."""
        own = {"prediction": self.variant.prediction, "trainer": self.variant.trainer}
        flat = {key.removeprefix("training."): value for key, value in _deciding(self.config).items()}
        return {"label": self.variant.label} | flat | own


def make_cell(
    grid: Grid, variant: Variant, seed: int, samplers: Mapping[str, str], identity: Mapping[str, Any]
) -> Cell:
    """One cell of the grid.

    Args:
        grid: the grid.
        variant: prior, coupling and path.
        seed: one of the grid's.
        samplers: label -> spec of those that can serve the variant; without its first one there is no curve.
        identity: what :meth:`Splits.identity` says of the data.
    """
    own_training = bool(variant.trainer or grid.runner)
    every = 0 if own_training else grid.curve.every(grid.training.steps)
    config = _config_of(grid, variant, seed, every)
    own = {"trainer": variant.trainer, "runner": grid.runner} if own_training else {}
    decides = {"flowprior": package_version(), "identity": identity, "curve": every}
    training = _hash({**decides, **_deciding(config), **own})
    tree, specs = grid.as_dict(), tuple(samplers.values())
    evaluated = {name: tree[name] for name in EVALUATED}
    names = [spec.partition(":")[0] for spec in (variant.prior, variant.coupling, variant.path)]
    has_curve = every > 0 and next(iter(variant.samplers.values())) in specs
    return Cell(
        variant=variant,
        seed=seed,
        config=config,
        samplers=specs,
        curve=tuple(grid.curve.steps(grid.training.steps)) if has_curve else (),
        name=f"{'+'.join(names)}-seed{seed}-{training[:10]}",
        key=_hash({"format": FORMAT, "training": training, "samplers": specs, **evaluated})[:10],
    )


def _config_of(grid: Grid, variant: Variant, seed: int, every: int) -> RunConfig:
    """What is trained; with a checkpoint every so many steps where the cell has a curve."""
    budget = replace(grid.training, seed=seed)
    if every:
        budget = replace(budget, checkpoint_every=every, keep_checkpoints=KEEP_ALL)
    if grid.variants:
        budget = replace(budget, prediction=variant.prediction)
    return RunConfig(grid.data, variant.prior, variant.coupling, variant.path, grid.model, budget)


def _deciding(config: RunConfig) -> dict[str, Any]:
    """The dotted keys that decide the training; the others may change where a run is resumed."""
    free = MAY_CHANGE - {"training.steps"}
    return {key: value for key, value in config.flat().items() if key not in free}


@dataclass(frozen=True)
class PlannedVariant:
    """A variant and what is to be done about it.

    Attributes:
        variant: prior, coupling and path.
        refusal: why the library refuses it, or every sampler does; None where there is something to run.
        refused_samplers: label of each sampler that cannot serve it, and why.
        cells: one for each seed; none where the variant is refused.
    """

    variant: Variant
    refusal: str | None
    refused_samplers: dict[str, str] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)


def plan_grid(grid: Grid, splits: Splits) -> list[PlannedVariant]:
    """Every variant of the grid with its cells, or with why there are none.

    Raises:
        OptionError: nothing of the grid can be run, or its curve cannot be drawn.
    """
    identity = splits.identity()
    planned = [_plan_variant(grid, variant, identity) for variant in variants(grid)]
    if not any(row.cells for row in planned):
        raise OptionError(f"compare: no combination of the grid is possible: {planned[0].refusal}")
    return planned


def describe_plan(grid: Grid, planned: list[PlannedVariant]) -> dict[str, Any]:
    """What plan.json holds: the grid, its variants, and the directory and key of each of their cells."""
    return {
        "format": FORMAT,
        "grid": grid.as_dict(),
        "samplers": sampler_labels(grid),
        "variants": [
            {
                **asdict(row.variant),
                "skipped": row.refusal,
                "refused_samplers": {} if row.refusal else row.refused_samplers,
                "cells": [{"seed": cell.seed, "name": cell.name, "key": cell.key} for cell in row.cells],
            }
            for row in planned
        ],
    }


def find_baseline(variants: Sequence[dict[str, Any]], wanted: str) -> str:
    """Label of the variant that the others are compared with.

    Args:
        variants: of plan.json; those that are skipped do not count.
        wanted: a label, whatever its spaces; empty for the standard normal with coupling and path
            ``condot``, or else the first variant.

    Raises:
        OptionError: there is no variant of this label.
    """
    labels = [variant["label"] for variant in variants if not variant["skipped"]]
    if wanted:
        found = [label for label in labels if _squeezed(label) == _squeezed(wanted)]
        if not found:
            raise OptionError(f"compare: no variant '{wanted}' for a baseline; there is {', '.join(labels)}")
        return found[0]
    usual = ("gaussian", "condot", "condot")
    found = [v["label"] for v in variants if (v["prior"], v["coupling"], v["path"]) == usual]
    return [*found, *labels, ""][0]


def skipped_of(variants: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Variants of plan.json, and samplers of one, that the library refuses; the sampler is None for all."""
    found = []
    for variant in variants:
        whole = {None: variant["skipped"]} if variant["skipped"] else {}
        refused = {**whole, **variant["refused_samplers"]}.items()
        found += [
            {"variant": variant["label"], "sampler": name, "reason": reason} for name, reason in refused
        ]
    return found


def _squeezed(label: str) -> str:
    return "".join(label.split()).lower()


def _plan_variant(grid: Grid, variant: Variant, identity: dict[str, Any]) -> PlannedVariant:
    refusal = variant.refusal(grid.training.batch_size)
    if refusal is not None:
        return PlannedVariant(variant, refusal)
    reasons = {label: variant.sampler_refusal(spec, grid.nfe) for label, spec in variant.samplers.items()}
    refused = {label: reason for label, reason in reasons.items() if reason is not None}
    allowed = {label: spec for label, spec in variant.samplers.items() if label not in refused}
    if not allowed:
        return PlannedVariant(variant, next(iter(refused.values())), refused)
    first = next(iter(variant.samplers))
    if grid.curve.points and first in allowed:
        reason = variant.sampler_refusal(allowed[first], grid.curve.nfe)
        if reason is not None:
            raise OptionError(f"compare: curve.nfe={list(grid.curve.nfe)} is not possible: {reason}")
    row = [make_cell(grid, variant, seed, allowed, identity) for seed in grid.seeds]
    return PlannedVariant(variant, None, refused, row)


def _hash(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()
