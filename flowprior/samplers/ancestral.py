"""Ancestral sampling: DDPM's reverse chain."""

from __future__ import annotations

from flowprior.registry import choose
from flowprior.samplers.base import Sampler
from flowprior.samplers.diffusion import (
    DiffusionSampler,
    Noise,
    Place,
    forward_deviation,
    posterior_deviation,
)
from flowprior.samplers.grids import TimeGrid

VARIANCES = ("posterior", "forward")


@Sampler.register("ancestral", aliases=["ddpm"])
class Ancestral(DiffusionSampler):
    """DDPM's stochastic reverse chain, one evaluation a step, N(0, I) only (Ho et al. 2020, alg. 2).

    The chain is taken over the sampler's own times (Nichol & Dhariwal 2021, sec. 4); new noise goes in at
    every step but the last. It needs a path with α² + σ² = 1, such as ``vp``, and a coupling that pairs at
    random.

    Args:
        variance: of the new noise: ``"posterior"``, β̃, right for data of a single point, or ``"forward"``, β,
            right for data that are N(0, I) (Ho et al. 2020, sec. 3.2).
        grid: name of a :class:`~flowprior.samplers.TimeGrid`, or an instance.
        clip: bound of the predicted datum, such as 1 for pictures in [-1, 1]; 0 leaves it as it is.
        exponent: of the grid ``"power"``.
        at: of the grid ``"last"``.
    """

    stochastic: bool = True

    def __init__(
        self,
        variance: str = "posterior",
        grid: str | TimeGrid = "uniform",
        clip: float = 0.0,
        exponent: float | None = None,
        at: float | None = None,
    ) -> None:
        super().__init__(grid, clip, exponent, at)
        self.variance = choose("sampler 'ancestral'", "variance", variance, VARIANCES)

    def noise(self, now: Place, then: Place) -> Noise:
        removed = posterior_deviation(now, then)
        is_last = then.sigma == 0.0
        if is_last or self.variance == "posterior":
            return Noise(removed, removed)
        return Noise(removed, forward_deviation(now, then))
