"""The variants of a grid: what each trains, and what the library refuses of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch

from flowprior.couplings import Coupling
from flowprior.errors import FlowpriorError
from flowprior.flow.linear_velocity import LinearVelocity
from flowprior.paths import Path, check_prediction
from flowprior.priors import Prior
from flowprior.samplers import Sampler
from flowprior.study.grid import Grid
from flowprior.training.components import choose_defaults
from flowprior.training.config import DEFAULT_PREDICTION, RunConfig


@dataclass(frozen=True)
class Variant:
    """One prior, coupling and path, whatever the seed.

    Attributes:
        label: as the report calls it, such as ``"gmm + ot"``.
        prior: spec.
        coupling: spec; what ``auto`` stands for with this prior.
        path: spec.
        prediction: of the network; what ``auto`` stands for with this prior and coupling.
        labels: labels of the three, as the grid has them.
        samplers: label -> spec of those that evaluate it.
        trainer: function that trains it, as ``package.module:function``; empty for ``flowprior.train``.
    """

    label: str
    prior: str
    coupling: str
    path: str
    prediction: str
    labels: tuple[str, str, str]
    samplers: Mapping[str, str]
    trainer: str = ""

    def refusal(self, batch_size: int) -> str | None:
        """Why the library refuses this combination, in one line; None where it does not."""
        prior, coupling, path = self._parts()
        try:
            path.check(prior)
            coupling.check(prior)
            check_prediction(path, self.prediction)
            if self.prediction == "residual":
                LinearVelocity(prior, coupling, path)
        except FlowpriorError as error:
            return _line(error)
        drawn = coupling.draw_size(batch_size)
        if drawn < batch_size or drawn % batch_size:
            return f"the coupling draws {drawn} pairs at once, no multiple of batch_size={batch_size}"
        return None

    def sampler_refusal(self, spec: str, counts: tuple[int, ...]) -> str | None:
        """Why a sampler cannot serve this variant with any of ``counts`` evaluations; None where it can."""
        prior, coupling, path = self._parts()
        generator = torch.Generator().manual_seed(0)
        try:
            sampler = Sampler.registry.resolve(spec).prepare(path, prior, coupling, generator=generator)
        except FlowpriorError as error:
            return _line(error)
        spent = [count for count in counts if count]  # 0 is the prior alone, which no sampler touches
        reasons = [] if sampler.adaptive else [_cannot_spend(sampler, count) for count in spent]
        return reasons[0] if reasons and all(reasons) else None

    def _parts(self) -> tuple[Prior, Coupling, Path]:
        return (
            Prior.registry.resolve(self.prior),
            Coupling.registry.resolve(self.coupling),
            Path.registry.resolve(self.path),
        )


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
    asked = RunConfig(prior=prior, coupling=coupling, path=path, training=grid.training)
    chosen = choose_defaults(asked, prior, coupling)
    return chosen.coupling, path, chosen.training.prediction


def _cannot_spend(sampler: Sampler, nfe: int) -> str | None:
    """Why not, tried on a velocity of zero."""

    def still(x: torch.Tensor, t: torch.Tensor, cond: Any) -> torch.Tensor:
        return torch.zeros_like(x)

    try:
        sampler.solve(still, torch.zeros(1, 1), nfe=nfe)
    except FlowpriorError as error:
        return _line(error)
    return None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
