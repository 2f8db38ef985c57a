"""A flow whose map is known, for the coupling ``reflow``, which makes pairs of none but a trained one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from flowprior.conditions.rows import labels_in
from flowprior.couplings import Coupling
from flowprior.couplings.reflow import ReflowCoupling
from flowprior.priors import Prior


@dataclass
class Affine:
    """Carries x0 to 2 x0 + 1 + c, c its label or 0, and counts the rows that it carries forth and back."""

    prior: Prior
    forth_rows: int = 0
    back_rows: int = 0
    asked: list[dict[str, Any]] = field(default_factory=list)

    def forth(self, x0: Tensor, cond: Any, **options: Any) -> Tensor:
        self.forth_rows += len(x0)
        self.asked.append(options)
        return 2 * x0 + 1 + self._labels(x0, cond)

    def back(self, x1: Tensor, cond: Any, **options: Any) -> Tensor:
        self.back_rows += len(x1)
        self.asked.append(options)
        return (x1 - 1 - self._labels(x1, cond)) / 2

    def _labels(self, x: Tensor, cond: Any) -> Tensor | float:
        labels = labels_in(cond)
        return 0.0 if labels is None else labels.view(-1, *[1] * (x.dim() - 1)).to(x)


def taught(prior: Prior, **options: Any) -> ReflowCoupling:
    """``reflow`` with an affine flow that starts from ``prior`` at random."""
    coupling = ReflowCoupling(**{"origin": "condot", **options})
    coupling.teacher = Affine(prior)
    return coupling


def made(name: str, prior: Prior) -> Coupling:
    """The coupling of this name with its defaults; ``reflow`` with a flow, and pairs under any condition."""
    return taught(prior, pool=0) if name == "reflow" else Coupling.create(name)
