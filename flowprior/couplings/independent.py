"""Source samples that know nothing of the datum, not even its condition."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.couplings.base import Coupling
from flowprior.errors import CouplingError
from flowprior.priors import Prior


@Coupling.register("independent")
class IndependentCoupling(Coupling):
    """x0 from the marginal source Σ_c p(c) p0(·|c), independent of datum and condition.

    Sampling starts at the same marginal, whatever condition is asked for.
    """

    pairs_at_random: ClassVar[bool] = True

    def draw(
        self, prior: Prior, x1: Tensor, cond: Conditions | None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        return prior.sample_marginal(len(x1), generator=generator)

    def source(
        self,
        prior: Prior,
        cond: Conditions | None,
        n: int | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        count = n if cond is None else len(cond)
        if count is None or (n is not None and n != count):
            rows = "None" if cond is None else f"{count} rows"
            raise CouplingError(f"independent.source: cond is {rows} and n={n}; pass one that says how many")
        return prior.sample_marginal(count, generator=generator)

    def source_mean(self, prior: Prior, cond: Conditions | None, n: int) -> Tensor:
        if cond is not None and prior.takes:
            raise CouplingError(
                "independent: its source samples are those of all conditions together, not around the mean "
                "of one; use temperature=1 and prior_guidance=1, or train with the coupling 'condot'"
            )
        return prior.mean(None, n)

    def source_log_prob(self, prior: Prior, x0: Tensor, cond: Conditions | None) -> Tensor:
        return prior.log_prob_marginal(x0)
