"""DDIM: denoising diffusion implicit models, from no new noise to DDPM's."""

from __future__ import annotations

from flowprior.errors import OptionError
from flowprior.samplers.base import Sampler
from flowprior.samplers.diffusion import DiffusionSampler, Place, posterior_deviation
from flowprior.samplers.grids import TimeGrid


@Sampler.register("ddim")
class DDIM(DiffusionSampler):
    """DDIM, one evaluation a step: α' x̂1 + √(σ'² − s²) x̂0 + s z (Song et al. 2021, eq. 12 and 16).

    With eta = 0 it is deterministic, of order 1, and valid for every path, prior and coupling; on the
    straight path it is Euler's method. With eta > 0 it needs N(0, I), a path with α² + σ² = 1 such as ``vp``
    and a coupling that pairs at random; eta = 1 is the sampler ``ancestral``.

    Args:
        eta: new noise as a share of DDPM's, in [0, 1].
        grid: name of a :class:`~flowprior.samplers.TimeGrid`, or an instance.
        clip: bound of the predicted datum, such as 1 for pictures in [-1, 1]; 0 leaves it as it is.
        exponent: of the grid ``"power"``.
        at: of the grid ``"last"``.
    """

    def __init__(
        self,
        eta: float = 0.0,
        grid: str | TimeGrid = "uniform",
        clip: float = 0.0,
        exponent: float | None = None,
        at: float | None = None,
    ) -> None:
        super().__init__(grid, clip, exponent, at)
        if not 0.0 <= eta <= 1.0:
            raise OptionError(f"sampler 'ddim': eta={eta} is not possible; choose it in [0, 1]")
        self.eta = eta
        self.stochastic = eta > 0

    def noise(self, now: Place, then: Place) -> float:
        return self.eta * posterior_deviation(now, then) if self.eta else 0.0
