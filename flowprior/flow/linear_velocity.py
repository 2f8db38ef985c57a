"""The velocity that the first two moments of the pairs foretell: what is left is for the network to learn.

On the straight path with v0 = v1 and k = 0 its slope is g = (2t − 1)/((1 − t)² + t²);
:mod:`flowprior.flow.pair_moments` has the formula for every path and pair, and that of its average over an
interval, by which its own flow has a closed form.
"""

from __future__ import annotations

from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.couplings import Coupling
from flowprior.flow.pair_moments import Chord, PairMoments, check_moments
from flowprior.paths import Path
from flowprior.priors import Prior

ITS_AVERAGE = {"what": "the average velocity of an interval", "instead": "prediction 'average-velocity'"}
"""What the message says of moments that are not known, where an average is asked for."""


class LinearVelocity:
    """E[u | x_t, c] of the pairs' first two moments; reads the prior at every call and keeps no weights.

    Args:
        prior: with a frame, such as ``latent-gmm``; fitted when it is called, not before.
        coupling: ``condot`` or ``posterior``, whose slope is known.
        path: any.
        what, instead: see :func:`~flowprior.flow.pair_moments.check_moments`.

    Raises:
        OptionError: a prior or coupling whose moments are not known.
    """

    def __init__(self, prior: Prior, coupling: Coupling, path: Path, **what: str) -> None:
        check_moments(prior, coupling, **what)
        self.prior, self.coupling, self.path = prior, coupling, path

    def __call__(self, x: Tensor, t: Tensor, cond: Conditions | None) -> Tensor:
        """The linear velocity ``[B, *event]`` at x ``[B, *event]``, times ``[B]`` and the condition."""
        flat, moments = self._at(x, t, cond)
        return moments.velocity(flat).view_as(x).to(x.dtype)

    def average(self, x: Tensor, begin: Tensor, end: Tensor, cond: Conditions | None) -> Tensor:
        """Its average ``[B, *event]`` over the intervals from ``begin``, where it is at x, to ``end``."""
        flat, moments = self._at(x, begin, cond)
        average = moments.average_velocity(flat, Chord.of(self.path, begin, end, flat.dtype))
        return average.view_as(x).to(x.dtype)

    def bend(self, x: Tensor, begin: Tensor, end: Tensor, cond: Conditions | None) -> Tensor:
        """How far ``[B, *event]`` its average over an interval is from what it is at the beginning."""
        flat, moments = self._at(x, begin, cond)
        average = moments.average_velocity(flat, Chord.of(self.path, begin, end, flat.dtype))
        return (average - moments.velocity(flat)).view_as(x).to(x.dtype)

    def _at(self, x: Tensor, t: Tensor, cond: Conditions | None) -> tuple[Tensor, PairMoments]:
        """x ``[B, D]`` and the moments of its pairs, in one dtype."""
        moments = PairMoments.at(self.prior, self.coupling, self.path, t, cond)
        return x.flatten(1).to(moments.frame.loc.dtype), moments
