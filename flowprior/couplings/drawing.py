"""Couplings that draw the source sample of each data sample by itself, and re-pair nothing inside a batch.

The distribution that it is drawn from depends on nothing of the data sample, on its condition, on all other
data of its condition, or on the latent variables that are inferred from it.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.conditions.rows import count_of
from flowprior.couplings.base import Coupling
from flowprior.couplings.pair_law import PairLaw
from flowprior.errors import CouplingError
from flowprior.priors import KernelMeanPrior, Prior


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
        return prior.sample_marginal(count_of("independent.source", cond, n), generator=generator)

    def source_mean(self, prior: Prior, cond: Conditions | None, n: int) -> Tensor:
        if cond is not None and prior.takes:
            raise CouplingError(
                "independent: its source samples are those of all conditions together, not around the mean "
                "of one; use temperature=1 and prior_guidance=1, or train with the coupling 'condot'"
            )
        return prior.mean(None, n)

    def source_log_prob(self, prior: Prior, x0: Tensor, cond: Conditions | None) -> Tensor:
        return prior.log_prob_marginal(x0)


@Coupling.register("condot")
class CondOTCoupling(Coupling):
    """x0 ~ p0(·|c) of the datum's condition, independent of the datum given c (the CPD paper's pairing)."""

    pairs_at_random: ClassVar[bool] = True

    def draw(
        self, prior: Prior, x1: Tensor, cond: Conditions | None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        return prior.sample(cond, len(x1), generator=generator)

    def has_law(self, prior: Prior) -> bool:
        return prior.has_spread

    def law(self, prior: Prior, cond: Conditions | None, n: int | None = None) -> PairLaw | None:
        frame = prior.spread(prior.reading(cond), count_of(self.name, cond, n))
        return None if frame is None else PairLaw.of(frame, torch.zeros_like(frame.spread))


@Coupling.register("leave-one-out")
class LeaveOneOutCoupling(Coupling):
    """x0 ~ p0(·|c) about the mean of all data but x1: what ``condot`` gives for data that are new.

    A mean over the few data of a condition lies nearer to each of them than to others. A network that is
    trained from there learns to trust it too much; sampled for a new condition, it starts further away than
    it ever did in training. Leaving the datum out of its own source closes that gap (cross-fitting). For the
    same reason it serves no prediction that shows the network the prior's mean, which has the datum in it.
    """

    pairs_at_random: ClassVar[bool] = True

    def draw(
        self, prior: Prior, x1: Tensor, cond: Conditions | None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        return self._leaves_out(prior).sample_without(x1, cond, generator=generator)

    def pairs_of_new(
        self, prior: Prior, x1: Tensor, cond: Conditions | None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """(x0, x1) as ``condot`` pairs them: there is nothing of new data in the prior to be left out."""
        return self.source(prior, cond, len(x1), generator=generator), x1

    def check(self, prior: Prior) -> None:
        """Refuse a prior that does not know itself without a datum.

        Raises:
            CouplingError: the prior would have to be fitted anew for each datum.
        """
        self._leaves_out(prior)

    def _leaves_out(self, prior: Prior) -> KernelMeanPrior:
        if not isinstance(prior, KernelMeanPrior):
            raise CouplingError(
                f"coupling 'leave-one-out': prior '{prior.name}' does not know what it would be without a "
                "datum; use the prior 'kernel-mean', or couple with 'condot'"
            )
        return prior


@Coupling.register("posterior")
class PosteriorCoupling(Coupling):
    """x0 ~ p0(·|h, c) with the prior's latents h ~ p(h|x1, c) inferred from the datum.

    Sampling starts at p0(·|c). At the maximum-likelihood fit the two agree in their first two
    moments; beyond those only as far as the prior fits, so the gap
    (:func:`flowprior.couplings.source_mismatch`) belongs in every run's log.

    A condition with few examples is given some that are the prior's own, so that a flow does not fall back to
    copies of them (:mod:`flowprior.priors.few_examples`).
    """

    def draw(
        self, prior: Prior, x1: Tensor, cond: Conditions | None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        return prior.infer(x1, cond, generator=generator)

    def pairs(
        self, prior: Prior, x1: Tensor, cond: Conditions | None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """(x0, x1), some of which are the prior's own where a condition has few examples."""
        x0 = self.draw(prior, x1, cond, generator=generator)
        return prior.smoothed(x0, x1, cond, generator=generator)

    def has_law(self, prior: Prior) -> bool:
        return prior.has_spread and prior.has_latents

    def law(self, prior: Prior, cond: Conditions | None, n: int | None = None) -> PairLaw | None:
        if not self.has_law(prior):
            return None
        read = prior.reading(cond)
        frame = prior.spread(read, count_of(self.name, cond, n))
        return None if frame is None else PairLaw.of(frame, prior.inferred_slope(frame, read))

    def check(self, prior: Prior) -> None:
        """Refuse a prior without latent variables.

        Raises:
            CouplingError: the prior has nothing to infer from a datum.
        """
        if not prior.has_latents:
            raise CouplingError(
                f"coupling 'posterior': prior '{prior.name}' has no latent variables to infer; use "
                "gmm:covariance=lowrank, gmm:components=8 or around:sigma=lowrank, or couple with 'ot'"
            )
