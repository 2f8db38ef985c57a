"""Ancestral sampling: DDPM's reverse chain."""

from __future__ import annotations

from flowprior.samplers.base import Sampler
from flowprior.samplers.diffusion import DiffusionSampler, Place, posterior_deviation


@Sampler.register("ancestral", aliases=["ddpm"])
class Ancestral(DiffusionSampler):
    """DDPM's stochastic reverse chain, one evaluation a step, N(0, I) only (Ho et al. 2020, alg. 2).

    The chain is taken over the sampler's own times (Nichol & Dhariwal 2021, sec. 4); new noise of the
    posterior variance β̃ goes in at every step but the last. It needs a path with α² + σ² = 1, such as ``vp``,
    and a coupling that pairs at random.

    Args:
        grid: name of a :class:`~flowprior.samplers.TimeGrid`, or an instance.
        clip: bound of the predicted datum, such as 1 for pictures in [-1, 1]; 0 leaves it as it is.
        exponent: of the grid ``"power"``.
        at: of the grid ``"last"``.
    """

    stochastic: bool = True

    def noise(self, now: Place, then: Place) -> float:
        return posterior_deviation(now, then)
