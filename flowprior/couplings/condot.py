"""Source samples drawn under the datum's own condition, at random within it."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.couplings.base import Coupling
from flowprior.priors import Prior


@Coupling.register("condot")
class CondOTCoupling(Coupling):
    """x0 ~ p0(·|c) of the datum's condition, independent of the datum given c (the CPD paper's pairing)."""

    pairs_at_random: ClassVar[bool] = True

    def draw(
        self, prior: Prior, x1: Tensor, cond: Conditions | None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        return prior.sample(cond, len(x1), generator=generator)

    def latent_slope(self, spread: Tensor, given: Tensor | None = None) -> Tensor:
        return torch.zeros_like(spread)
