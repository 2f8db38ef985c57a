"""The velocity that the first two moments of the pairs foretell: what is left is for the network to learn.

On the straight path with v0 = v1 and k = 0 its slope is g = (2t − 1)/((1 − t)² + t²);
:mod:`flowprior.flow.pair_moments` has the formula for every path and pair.
"""

from __future__ import annotations

from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.couplings import Coupling
from flowprior.flow.pair_moments import PairMoments, check_moments
from flowprior.paths import Path
from flowprior.priors import Prior


class LinearVelocity:
    """E[u | x_t, c] of the pairs' first two moments; reads the prior at every call and keeps no weights.

    Args:
        prior: with a frame, such as ``latent-gmm``; fitted when it is called, not before.
        coupling: ``condot`` or ``posterior``, whose slope is known.
        path: any.

    Raises:
        OptionError: a prior or coupling whose moments are not known.
    """

    def __init__(self, prior: Prior, coupling: Coupling, path: Path) -> None:
        check_moments(prior, coupling)
        self.prior, self.coupling, self.path = prior, coupling, path

    def __call__(self, x: Tensor, t: Tensor, cond: Conditions | None) -> Tensor:
        """The linear velocity ``[B, *event]`` at x ``[B, *event]``, times ``[B]`` and the condition."""
        moments = PairMoments.at(self.prior, self.coupling, self.path, t, cond)
        velocity = moments.velocity(x.flatten(1).to(moments.frame.loc.dtype))
        return velocity.view_as(x).to(x.dtype)
