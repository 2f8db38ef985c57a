"""The variants of a grid, their runs of one seed each, and the plan of what is to be run of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, product
from typing import Any

from flowprior.couplings import Coupling
from flowprior.errors import OptionError
from flowprior.flow.predictions import kind_of
from flowprior.registry.plugins import package_version
from flowprior.study.grid import Grid
from flowprior.study.records import FORMAT
from flowprior.study.splits import Splits
from flowprior.study.variants import VARIANT, Variant
from flowprior.training.components import settled_config
from flowprior.training.config import AUTO, MAY_CHANGE, RunConfig

EVALUATED = ["nfe", "samples", "guidance", "curve", "evaluation", "conditions", "validation", "values"]
"""Keys of a grid that decide how a trained run is evaluated, beside ``evaluation_seed``."""


def variants(grid: Grid) -> list[Variant]:
    """Return the variants that the grid names, or every prior × coupling × path; several paths are named."""
    if grid.variants:
        return [_variant(grid, label, parts) for label, parts in grid.variants.items()]
    found = []
    for prior, coupling, path in product(grid.priors, grid.couplings, grid.paths):
        label = " + ".join([prior, coupling, *([path] if len(grid.paths) > 1 else [])])
        parts = {"prior": grid.priors[prior], "coupling": grid.couplings[coupling], "path": grid.paths[path]}
        found.append(_variant(grid, label, VARIANT | parts))
    return found


def _variant(grid: Grid, label: str, parts: Mapping[str, str]) -> Variant:
    """Return a variant, with what ``train`` chooses where its parts or the grid say ``auto``."""
    training, sampler = grid.training, parts["sampler"]
    if parts["prediction"] != AUTO:
        training = replace(training, prediction=parts["prediction"])
    specs = (parts["prior"], parts["coupling"], parts["path"])
    config = RunConfig(grid.data, *specs, grid.model, training, grid.latent)
    chosen = settled_config(config)
    names = {spec: name for name, spec in grid.samplers.items()}
    samplers = {names.get(sampler, sampler): sampler} if sampler else grid.samplers
    coupling = Coupling.registry.resolve(chosen.coupling)
    suited = kind_of(chosen.training.prediction).suited_sampler(coupling)
    return Variant(
        label=label,
        prior=chosen.prior,
        coupling=chosen.coupling,
        path=chosen.path,
        prediction=chosen.training.prediction,
        samplers={name: suited if spec == AUTO else spec for name, spec in samplers.items()},
        trainer=parts["trainer"] or grid.trainer,
    )


@dataclass(frozen=True)
class StudyRun:
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
        """The name of the run in messages."""
        return f"{self.variant.label}, seed {self.seed}"

    @property
    def setting(self) -> dict[str, Any]:
        """The settings that decide the training, as flat plain values."""
        own = {"prediction": self.variant.prediction, "trainer": self.variant.trainer}
        flat = {key.removeprefix("training."): value for key, value in _deciding(self.config).items()}
        return {"label": self.variant.label} | flat | own


def make_run(
    grid: Grid, variant: Variant, seed: int, samplers: Mapping[str, str], identity: Mapping[str, Any]
) -> StudyRun:
    """Return the run of one variant and seed of a grid.

    Args:
        samplers: label -> spec of those that can serve the variant; without its first one there is no curve.
        identity: what :meth:`Splits.identity` says of the data.
    """
    own = {"trainer": variant.trainer} if variant.trainer else {}
    every = grid.curve.every(grid.training.steps)
    config = _config_of(grid, variant, seed, every)
    own_data = {name: identity[name] for name in identity if name not in grid.references}
    decides = {"flowprior": package_version(), "identity": own_data, "curve": every}
    training = _hash({**decides, **_deciding(config), **own})
    tree, specs = grid.as_dict(), tuple(dict.fromkeys(samplers.values()))  # "auto" may be one of the others
    evaluated = {name: tree[name] for name in [*EVALUATED, "references", "evaluation_seed"] if name in tree}
    others = {name: identity[name] for name in grid.references}
    has_curve = every > 0 and next(iter(variant.samplers.values())) in specs
    return StudyRun(
        variant=variant,
        seed=seed,
        config=config,
        samplers=specs,
        curve=tuple(grid.curve.steps(grid.training.steps)) if has_curve else (),
        name=f"{'+'.join(_names(variant.prior, variant.coupling, variant.path))}-seed{seed}-{training[:10]}",
        key=_hash({"format": FORMAT, "training": training, "samplers": specs, **evaluated, **others})[:10],
    )


def _config_of(grid: Grid, variant: Variant, seed: int, every: int) -> RunConfig:
    """Return the configuration of the training; it has regular checkpoints if the run has a curve."""
    points = {"checkpoint_every": every, "keep_checkpoints": 1_000_000} if every else {}
    named = {"prediction": variant.prediction} if grid.variants else {}
    budget = replace(grid.training, seed=seed, **points, **named)
    parts = (variant.prior, variant.coupling, variant.path)
    return RunConfig(grid.data, *parts, grid.model, budget, grid.latent)


def _deciding(config: RunConfig) -> dict[str, Any]:
    """Return the dotted keys that decide the training; the others may change where a run is resumed."""
    free = MAY_CHANGE - {"training.steps"}
    return {key: value for key, value in config.flat().items() if key not in free}


def plan_grid(grid: Grid, splits: Splits) -> tuple[dict[str, Any], list[StudyRun]]:
    """Return the content of plan.json and the runs, seed by seed: an interrupted study can be compared.

    A run comes once: the coupling ``auto`` may stand for one that the grid names, too.

    Args:
        grid: of the study.
        splits: its data.

    Raises:
        OptionError: nothing of the grid can be run, or its curve cannot be drawn.
    """
    identity = splits.identity()
    planned = (_plan_variant(grid, variant, identity) for variant in variants(grid))
    entries, rows = zip(*planned, strict=True)
    runs = [run for seed in grid.seeds for row in rows for run in row if run.seed == seed]
    if not runs:
        raise OptionError(f"compare: no combination of the grid is possible: {entries[0]['skipped']}")
    samplers: dict[str, str] = {}
    for label, spec in chain.from_iterable(entry["samplers"].items() for entry in entries):
        samplers[label] = spec if samplers.get(label, spec) == spec else AUTO
    plan = {"format": FORMAT, "grid": grid.as_dict(), "samplers": samplers, "variants": list(entries)}
    return plan, list({(run.name, run.key): run for run in runs}.values())


def _plan_variant(grid: Grid, variant: Variant, identity: Any) -> tuple[dict[str, Any], list[StudyRun]]:
    """Return a variant as plan.json has it, with why it is skipped, and its runs; none where it is."""
    skipped, refused = variant.refusal(grid.training), {}
    if not skipped:
        reasons = {name: variant.sampler_refusal(spec, grid.nfe) for name, spec in variant.samplers.items()}
        refused = {name: reason for name, reason in reasons.items() if reason}
    allowed = {name: spec for name, spec in variant.samplers.items() if name not in refused}
    if not allowed:
        skipped, refused = next(iter(refused.values())), {}
    if not skipped and grid.curve.points and next(iter(variant.samplers)) in allowed:
        reason = variant.sampler_refusal(next(iter(allowed.values())), grid.curve.nfe)
        if reason:
            raise OptionError(f"compare: curve.nfe={list(grid.curve.nfe)} is not possible: {reason}")
    runs = [] if skipped else [make_run(grid, variant, seed, allowed, identity) for seed in grid.seeds]
    named = [{"seed": run.seed, "name": run.name, "key": run.key} for run in runs]
    return asdict(variant) | {"skipped": skipped, "refused_samplers": refused, "cells": named}, runs


def find_baseline(variants: Sequence[dict[str, Any]], wanted: str) -> str:
    """Return the label of the variant that the others are compared with.

    Args:
        variants: of plan.json; those that are skipped do not count.
        wanted: a label, whatever its spaces; empty for the standard normal with coupling and path
            ``condot``, or else the first variant.

    Raises:
        OptionError: there is no variant of this label.
    """
    labels = [variant["label"] for variant in variants if not variant["skipped"]]
    if not wanted:
        usual = ("gaussian", "condot", "condot")
        found = [v["label"] for v in variants if (v["prior"], v["coupling"], v["path"]) == usual]
        return [*found, *labels, ""][0]
    for label in labels:
        if "".join(label.split()).lower() == "".join(wanted.split()).lower():
            return label
    raise OptionError(f"compare: no variant '{wanted}' for a baseline; there is {', '.join(labels)}")


def skipped_of(variants: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return variants of plan.json, and samplers of one, that are refused; the sampler is None for all."""
    return [
        {"variant": variant["label"], "sampler": sampler, "reason": reason}
        for variant in variants
        for sampler, reason in {None: variant["skipped"], **variant["refused_samplers"]}.items()
        if reason
    ]


def name_of_skipped(row: Mapping[str, Any]) -> str:
    """Return the name in messages of one of :func:`skipped_of`."""
    return f"{row['variant']} by {row['sampler']}" if row["sampler"] else row["variant"]


def _names(*specs: str) -> list[str]:
    return [spec.partition(":")[0] for spec in specs]


def _hash(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()
