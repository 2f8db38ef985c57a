"""Source samples drawn from the prior's latent variables, inferred from the datum."""

from __future__ import annotations

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.couplings.base import Coupling
from flowprior.errors import CouplingError
from flowprior.priors import LatentPrior, Prior, latents_of


@Coupling.register("posterior")
class PosteriorCoupling(Coupling):
    """x0 ~ p0(·|h, c) with the prior's latents h ~ p(h|x1, c) inferred from the datum.

    Sampling starts at p0(·|c). At the maximum-likelihood fit the two agree in their first two
    moments; beyond those only as far as the prior fits, so the gap
    (:func:`flowprior.couplings.source_gap`) belongs in every run's log.

    A condition with few examples is given some that are the prior's own, so that a flow does not fall back to
    copies of them (:mod:`flowprior.priors.few_examples`).
    """

    def draw(
        self, prior: Prior, x1: Tensor, cond: Conditions | None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        return self._latents(prior).infer(x1, cond, generator=generator)

    def pairs(
        self, prior: Prior, x1: Tensor, cond: Conditions | None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """(x0, x1), some of which are the prior's own where a condition has few examples."""
        x0 = self.draw(prior, x1, cond, generator=generator)
        return self._latents(prior).smoothed(x0, x1, cond, generator=generator)

    def latent_slope(self, spread: Tensor, given: Tensor | None = None) -> Tensor:
        return 1 - 1 / spread if given is None else 1 - (1 - given) / spread

    def check(self, prior: Prior) -> None:
        """Refuse a prior without latent variables.

        Raises:
            CouplingError: the prior has nothing to infer from a datum.
        """
        self._latents(prior)

    def _latents(self, prior: Prior) -> LatentPrior:
        latents = latents_of(prior)
        if latents is None:
            raise CouplingError(
                f"coupling 'posterior': prior '{prior.name}' has no latent variables to infer; use "
                "gmm:covariance=lowrank, gmm:components=8 or learned-mean with a latent, or couple with 'ot'"
            )
        return latents
