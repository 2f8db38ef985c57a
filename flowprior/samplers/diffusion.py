"""Diffusion samplers, DDPM's chain and DDIM: predict both ends of the path, go back onto it at the next time.

From x at t with velocity v the path (α, σ) gives a source sample x̂0, the predicted noise, and a datum x̂1.
The state at the later time t' is

    x' = α' x̂1 + √(σ'² − s²) x̂0 + s z,    z ~ N(0, I),

where s says how much of the old noise is exchanged for new. That keeps the law of the path where the source
is N(0, I) and independent of the datum (Song et al. 2021, arXiv 2010.02502, eq. 12).
"""

from __future__ import annotations

import copy
import math
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.couplings import Coupling
from flowprior.errors import OptionError
from flowprior.paths import Path, ends_of_velocity
from flowprior.priors import Prior
from flowprior.samplers.base import CountedVelocity, Sampler, Solution, Velocity, check_nfe
from flowprior.samplers.fixed import DEFAULT_NFE, TimeGrid, along, make_grid


class Place(NamedTuple):
    """α and σ of the path at one time."""

    alpha: float
    sigma: float


@Sampler.register("ddim")
class DDIM(Sampler):
    """DDIM, one evaluation a step: α' x̂1 + √(σ'² − s²) x̂0 + s z (Song et al. 2021, eq. 12 and 16).

    With eta = 0 it is deterministic, of order 1, and valid for every path, prior and coupling; on the
    straight path it is Euler's method. With eta > 0 it needs N(0, I), a path with α² + σ² = 1 such as ``vp``
    and a coupling that pairs at random; eta = 1 is the sampler ``ancestral``. It steps along the path of the
    flow, which ``flow.sample`` gives it; elsewhere call :meth:`prepare`.

    Args:
        eta: new noise as a share of DDPM's, in [0, 1].
        grid: name of a :class:`~flowprior.samplers.TimeGrid`, or an instance.
        clip: bound of the predicted data sample, such as 1 for pictures in [-1, 1]; 0 leaves it as it is.
        exponent: of the grid ``"power"``.
        at: of the grid ``"last"``.
    """

    starts_late: ClassVar[bool] = True

    def __init__(
        self,
        eta: float = 0.0,
        grid: str | TimeGrid = "uniform",
        clip: float = 0.0,
        exponent: float | None = None,
        at: float | None = None,
    ) -> None:
        if not 0.0 <= eta <= 1.0:
            raise OptionError(f"sampler 'ddim': eta={eta} is not possible; choose it in [0, 1]")
        if not clip >= 0:
            raise OptionError(f"sampler '{self.name}': clip={clip} is not possible; choose it above 0, or 0")
        self._grid = make_grid(grid, exponent=exponent, at=at)
        self.grid, self.exponent, self.at = grid, exponent, at
        self.eta, self.clip, self.stochastic = eta, clip, eta > 0
        self.path: Path | None = None
        self.generator: torch.Generator | None = None

    def prepare(
        self,
        path: Path,
        prior: Prior | None = None,
        coupling: Coupling | None = None,
        prediction: str = "",
        *,
        generator: torch.Generator | None = None,
    ) -> DDIM:
        """See :meth:`Sampler.prepare`; OptionError where new noise would bend the law of the path."""
        path.require_no_noise(f"sampler '{self.name}'")
        if self.stochastic:
            self._check(path, prior, coupling)
        prepared = copy.copy(self)
        prepared.path, prepared.generator = path, generator
        return prepared

    def solve(
        self,
        velocity: Velocity,
        x0: Tensor,
        cond: Conditions | None = None,
        *,
        nfe: int | None = None,
        trajectory: bool = False,
    ) -> Solution:
        """See :meth:`Sampler.solve`; ``nfe`` steps, 15 where it is None. Refused before :meth:`prepare`."""
        path = self.path
        if path is None:
            raise OptionError(
                f"sampler '{self.name}' steps along the path of the flow and was not told which; call "
                f"flow.sample(sampler='{self.name}'), or sampler.prepare(path) before sampler.solve"
            )
        if nfe is not None:
            check_nfe(f"sampler '{self.name}'", nfe)
        if nfe is not None and nfe < 1:
            raise OptionError(f"sampler '{self.name}': nfe={nfe} is not possible; choose 1 or more")
        grid = self._grid.times_from(self.start, nfe or DEFAULT_NFE)
        alpha, sigma, *_ = path.coefficients(grid)
        at = dict(zip(grid.tolist(), map(Place, alpha.tolist(), sigma.tolist()), strict=True))
        counted = CountedVelocity(velocity, cond)

        def step(x: Tensor, t: float, end: float) -> Tensor:
            now, then = at[t], at[end]
            times = torch.full((len(x),), t, dtype=x.dtype, device=x.device)
            noise, datum = ends_of_velocity(path, counted(x, t), x, times)
            if self.clip:
                datum = datum.clamp(-self.clip, self.clip)
                noise = (x - now.alpha * datum) / now.sigma
            exchanged = self._noise(now, then)
            x = then.alpha * datum + math.sqrt(max(then.sigma**2 - exchanged**2, 0.0)) * noise
            if not exchanged:
                return x
            fresh = torch.randn(x.shape, generator=self.generator, dtype=x.dtype, device=x.device)
            return x + exchanged * fresh

        x, times, states = along(grid, x0, step, trajectory)
        return Solution(x, counted.nfe, times, states)

    def _check(self, path: Path, prior: Prior | None, coupling: Coupling | None) -> None:
        """Refuse what new Gaussian noise is not valid for."""
        instead = "use a sampler without new noise, such as 'euler' or 'ddim'"
        alpha, sigma, *_ = path.coefficients(torch.linspace(0.0, 1.0, 5, dtype=torch.float64))
        if not torch.allclose(alpha.square() + sigma.square(), torch.ones_like(alpha)):
            raise OptionError(
                f"sampler '{self.name}' is only valid on a path with α² + σ² = 1, such as 'vp', got path "
                f"'{path.name}'; {instead}"
            )
        if prior is not None and not prior.is_standard_normal:
            raise OptionError(
                f"sampler '{self.name}' is only valid for a standard normal source, got prior "
                f"'{prior.name}'; {instead}, or train with the prior 'gaussian'"
            )
        if coupling is not None and not coupling.pairs_at_random:
            raise OptionError(
                f"sampler '{self.name}' is only valid where source samples were paired with data at random, "
                f"got a {type(coupling).__name__}; {instead}, or train with the coupling 'condot'"
            )

    def _noise(self, now: Place, then: Place) -> float:
        """Return the standard deviation s of the noise that a step exchanges; 0 for none.

        With eta = 1 it is that of x' given x and x1, (σ'/σ) √(1 − α²/α'²) (Ho et al. 2020, eq. 7).
        """
        if not self.eta:
            return 0.0
        kept = 1.0 - (now.alpha / then.alpha) ** 2
        return self.eta * (then.sigma / now.sigma) * math.sqrt(max(kept, 0.0))


@Sampler.register("ancestral", aliases=["ddpm"])
class Ancestral(DDIM):
    """DDPM's stochastic reverse chain, one evaluation a step, N(0, I) only (Ho et al. 2020, alg. 2).

    The chain is taken over the sampler's own times (Nichol & Dhariwal 2021, sec. 4); new noise of the
    posterior variance β̃ goes in at every step but the last. It needs a path with α² + σ² = 1, such as ``vp``,
    and a coupling that pairs at random.

    Args:
        grid: name of a :class:`~flowprior.samplers.TimeGrid`, or an instance.
        clip: bound of the predicted data sample, such as 1 for pictures in [-1, 1]; 0 leaves it as it is.
        exponent: of the grid ``"power"``.
        at: of the grid ``"last"``.
    """

    def __init__(
        self,
        grid: str | TimeGrid = "uniform",
        clip: float = 0.0,
        exponent: float | None = None,
        at: float | None = None,
    ) -> None:
        super().__init__(1.0, grid, clip, exponent, at)
