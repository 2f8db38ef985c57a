"""The variants of a grid: every prior × coupling × path, and what the library refuses of it."""

from __future__ import annotations

from dataclasses import dataclass
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
from flowprior.training.config import RunConfig


@dataclass(frozen=True)
class Variant:
    """One prior × coupling × path, whatever the seed.

    Attributes:
        label: as the report calls it, such as ``"gmm + ot"``.
        prior: spec.
        coupling: spec; what ``auto`` stands for with this prior.
        path: spec.
        prediction: of the network; what ``auto`` stands for with this prior and coupling.
        labels: labels of the three, as the grid has them.
    """

    label: str
    prior: str
    coupling: str
    path: str
    prediction: str
    labels: tuple[str, str, str]

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
    """Every prior × coupling × path of the grid; the path is named where there are several."""
    found = []
    for prior, prior_spec in grid.priors.items():
        for coupling, coupling_spec in grid.couplings.items():
            for path, path_spec in grid.paths.items():
                names = (prior, coupling, path) if len(grid.paths) > 1 else (prior, coupling)
                labels, specs = (prior, coupling, path), (prior_spec, coupling_spec, path_spec)
                found.append(_variant(" + ".join(names), labels, grid, *specs))
    return found


def _variant(
    name: str, labels: tuple[str, str, str], grid: Grid, prior: str, coupling: str, path: str
) -> Variant:
    """One variant, with what ``train`` chooses where the grid says ``auto``."""
    asked = RunConfig(prior=prior, coupling=coupling, path=path, training=grid.training)
    chosen = choose_defaults(asked, prior, coupling)
    return Variant(name, prior, chosen.coupling, path, chosen.training.prediction, labels)


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
