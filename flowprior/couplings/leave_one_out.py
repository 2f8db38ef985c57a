"""Source samples drawn under the datum's own condition, from the prior as it were without the datum."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.couplings.base import Coupling
from flowprior.errors import CouplingError
from flowprior.priors import LeaveOneOutPrior, Prior


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

    def _leaves_out(self, prior: Prior) -> LeaveOneOutPrior:
        if not isinstance(prior, LeaveOneOutPrior):
            raise CouplingError(
                f"coupling 'leave-one-out': prior '{prior.name}' does not know what it would be without a "
                "datum; use the prior 'kernel-mean', or couple with 'condot'"
            )
        return prior
