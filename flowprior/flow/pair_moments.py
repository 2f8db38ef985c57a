"""The first two moments of the pairs (x0, x1) of one condition, and what they foretell on the way.

Take the pairs as jointly Gaussian, with one mean μ, and along some direction variances v0 and v1 and a
covariance k. On the path x_t = α x1 + σ x0 with velocity u = α' x1 + σ' x0,

    E[u | x_t] = (α' + σ') μ + g (x_t − (α + σ) μ),   g = (α α' v1 + σ σ' v0 + (α σ' + σ α') k) / s²,
    Var[x_t] = s² = α² v1 + σ² v0 + 2 α σ k,
    Var[u | x_t] = (α σ' − σ α')² (v0 v1 − k²) / s².

The directions are those of the prior's frame (:mod:`flowprior.priors.frame`), in units of its noise ψ. Along
its r principal axes v0 = v1 = λ, and the coupling says how a source sample follows its datum, k = a λ.
Outside, every coordinate is on its own, v0 = 1 and k = 0, and v1 follows from ψ, which holds the prior's
variance floor f (``reg_covar``): the network need not learn to take that noise away again. A mean with noise
around it, as of ``kernel-mean``, has no axes, and v1 is what is left of the data around the mean.

Over an interval of length h, on which the chords of the path's coefficients have the slopes Δα and Δσ, the
average of the linear velocity has a closed form. Along each direction x_t − E[x_t] becomes s_e/s of itself,
where s_e² is the variance at the end, and

    (s_e/s − 1)/h = 2 (ᾱ Δα v1 + σ̄ Δσ v0 + (ᾱ Δσ + σ̄ Δα) k) / (s (s + s_e)),

where ᾱ and σ̄ are the means of the coefficients of both ends. At h = 0 this is g. A constant that is added
to the velocity adds itself, times the mean of s_e/s_τ over the interval's times τ, to the average. Where the
variance outside of the axes differs from coordinate to coordinate, that is nearly so.

The null condition of classifier-free guidance has moments, too, those of all data together: what conditions
differ in is shared by x0 and x1 there, so that under ``posterior`` the slope a = 1 − 1/λ holds for them, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.couplings import Coupling
from flowprior.errors import OptionError
from flowprior.ops.subspace import subspace_view
from flowprior.paths import Path
from flowprior.paths.base import Coefficients
from flowprior.priors import Prior, latents_of
from flowprior.priors.frame import Frame, TellsMoments

LEAST_VARIANCE = 0.05
"""Of the data relative to the source samples'. Coordinates that hardly vary still do so now and then, in no
Gaussian way, and a network cannot talk a velocity out of it that expects nothing there: with 1e-6 the
held-out log-density of digits falls by thousands of nats, with 0.05 it stays; samples are as good."""

SHORTEST = 1e-3
"""Length of an interval below which its chord is the tangent."""


def are_known(prior: Prior, coupling: Coupling) -> bool:
    """Whether prior and coupling, fitted or not, tell the moments of their pairs."""
    return _teller(prior) is not None and coupling.latent_slope(torch.ones(1, 1)) is not None


def _teller(prior: Prior) -> TellsMoments | None:
    """``prior`` as one that tells the moments of its source samples and of the data, or None."""
    own = latents_of(prior) or prior
    return own if isinstance(own, TellsMoments) and own.tells_moments else None


def check_moments(
    prior: Prior,
    coupling: Coupling,
    what: str = "this prediction",
    instead: str = "prediction 'velocity' (--set training.prediction=velocity)",
    exact: bool = False,
) -> None:
    """Refuse a prior or coupling whose pairs' moments are not known.

    Args:
        prior, coupling: fitted or not.
        what: needs them, as the message says it.
        instead: what does without them.
        exact: a slope that is of another coupling's pairs, as that of ``reflow``, will not do.

    Raises:
        OptionError: it says what to use instead.
    """
    if not are_known(prior, coupling) or (exact and not coupling.slope_is_of_pairs):
        raise OptionError(
            f"{what} needs the moments of the pairs, which prior '{prior.name}' with coupling "
            f"'{coupling.name}' does not tell; use prior latent-gmm or flow with coupling posterior or "
            f"condot, kernel-mean or learned-mean with condot, or {instead}"
        )


@dataclass(frozen=True)
class PairMoments:
    """The moments of B pairs, each at its own time.

    Attributes:
        frame: of the rows.
        slope: a ``[B, r]``, of h0 = a h1 + noise along the principal axes.
        path: α, σ, α', σ' of each row, ``[B, 1]`` each.
    """

    frame: Frame
    slope: Tensor
    path: Coefficients

    @classmethod
    def at(
        cls, prior: Prior, coupling: Coupling, path: Path, t: Tensor, cond: Conditions | None
    ) -> PairMoments:
        """The moments of pairs of a fitted ``prior`` at times ``[B]`` under their conditions."""
        teller = _teller(prior)
        frame = None if teller is None else teller.frame(prior.reading(cond, "frame"), len(t))
        assert frame is not None
        given = () if frame.given is None else (frame.given,)
        slope = coupling.latent_slope(frame.spread, *given)
        assert slope is not None
        columns = Coefficients(*(c[:, None] for c in path.coefficients(t.to(frame.loc.dtype))))
        return cls(frame, slope, columns)

    @cached_property
    def outside(self) -> Tensor:
        """v1 outside of the subspace ``[B, D]``, in units of ψ."""
        return self.frame.variance_outside().clamp_min(LEAST_VARIANCE)

    @property
    def _shared(self) -> Tensor | float:
        """k outside of the subspace, in units of ψ."""
        return 0.0 if self.frame.shared is None else self.frame.shared

    @property
    def mean(self) -> Tensor:
        """E[x_t] ``[B, D]``."""
        return (self.path.alpha + self.path.sigma) * self.frame.loc

    def standardised(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of x ``[B, D]``: (x − E[x_t])/Var[x_t]^½, E[u | x_t], and Var[u | x_t]^½, ``[B, D]`` each.

        The last two are :meth:`velocity` and the root of :meth:`variances`' second.
        """
        frame, tables = self.frame, self.frame.tables(x, *self.path, self.slope)
        if tables is None:
            variance, left = self.variances()
            return (x - self.mean) * variance.rsqrt(), self.velocity(x), left.sqrt()
        times, lengths = torch.cat(self.path, 1), frame.squared_lengths
        return subspace_view(x, times, tables, self.slope, lengths, frame.floor, LEAST_VARIANCE)

    def velocity(self, x: Tensor) -> Tensor:
        """E[u | x_t] ``[B, D]`` at x ``[B, D]``."""
        return self._affine(x, self.path, slope_of_velocity)

    def average_velocity(self, x: Tensor, chord: Chord) -> Tensor:
        """The average ``[B, D]`` of the linear velocity over an interval that begins at x ``[B, D]``."""
        return self._affine(x, chord.path, partial(slope_of_average, length=chord.length))

    def carried(self, velocity: Tensor, chord: Chord) -> Tensor:
        """What a constant velocity ``[B, D]``, added to the linear one, adds to its average over an interval.

        The linear flow carries on what is added at time τ by the factor s_e/s_τ along each direction, whose
        mean over the interval is taken by Simpson's rule.
        """
        return self._along_axes(velocity, partial(mean_growth, chord.path, length=chord.length))

    def _affine(self, x: Tensor, path: Coefficients, slope_of: Callable[..., Tensor]) -> Tensor:
        """(α' + σ') m + G (x − E[x_t]) ``[B, D]``, the slopes of G along all directions by ``slope_of``."""
        mean = (path.alpha_dot + path.sigma_dot) * self.frame.loc
        return mean + self._along_axes(x - self.mean, partial(slope_of, path))

    def _along_axes(self, rows: Tensor, factor: Callable[..., Tensor]) -> Tensor:
        """Rows ``[B, D]``, each direction of the frame times its own ``factor(datum, covariance)``."""
        frame = self.frame
        white = rows * frame.noise.rsqrt()
        inside = frame.into(white)
        along = factor(covariance=self.slope) * inside
        projected, scaled = frame.out_of(torch.stack([inside, along], 1)).unbind(1)
        beside = factor(datum=self.outside, covariance=self._shared)
        return torch.addcmul(scaled, beside, white - projected) * frame.noise.sqrt()

    def variances(self) -> tuple[Tensor, Tensor]:
        """Var[x_t], and Var[u | x_t], what the linear velocity leaves, of each coordinate, ``[B, D]``."""
        frame, path, kinds = self.frame, self.path, (variance_of_state, variance_left)
        along = torch.stack([kind(path, covariance=self.slope) for kind in kinds], 1)
        inside = frame.diagonal(along * frame.spread[:, None]).unbind(1)
        room = (1 - frame.leverage).clamp_min(0)
        beside = (kind(path, datum=self.outside, covariance=self._shared) for kind in kinds)
        of_state, left = (
            frame.noise * torch.addcmul(part, room, other) for part, other in zip(inside, beside, strict=True)
        )
        return of_state, left


class Chord(NamedTuple):
    """The chord of a path over an interval of each row: its length ``[B, 1]``, and the path at its beginning.

    In place of the derivatives of α and σ the path has their mean slopes over the interval.
    """

    length: Tensor
    path: Coefficients

    @classmethod
    def of(cls, path: Path, begin: Tensor, end: Tensor, dtype: torch.dtype) -> Chord:
        """Of intervals from ``begin`` to ``end``, ``[B]`` each; of length 0 the derivatives."""
        begin, end = begin.to(dtype), end.to(dtype)
        here, there = path.coefficients(begin), path.coefficients(end)
        length = end - begin
        short = length < SHORTEST
        divisor = torch.where(short, 1.0, length)
        alpha = torch.where(short, here.alpha_dot, (there.alpha - here.alpha) / divisor)
        sigma = torch.where(short, here.sigma_dot, (there.sigma - here.sigma) / divisor)
        columns = (part[:, None] for part in (here.alpha, here.sigma, alpha, sigma))
        return cls(length[:, None], Coefficients(*columns))


def slope_of_average(
    path: Coefficients,
    datum: Tensor | float = 1.0,
    covariance: Tensor | float = 0.0,
    *,
    length: Tensor,
) -> Tensor:
    """(s_e/s − 1)/h of the module's formula, h the ``length``; ``path`` has the slopes of its chords."""
    a, s, a_dot, s_dot = path
    end = path._replace(alpha=a + length * a_dot, sigma=s + length * s_dot)
    middle = path._replace(alpha=(a + end.alpha) / 2, sigma=(s + end.sigma) / 2)
    here, there = (variance_of_state(place, datum, covariance).sqrt() for place in (path, end))
    return 2 * _joint(middle, datum, covariance) / (here * (here + there))


def mean_growth(
    path: Coefficients,
    datum: Tensor | float = 1.0,
    covariance: Tensor | float = 0.0,
    *,
    length: Tensor,
) -> Tensor:
    """The mean of s_e/s_τ over τ in an interval, by Simpson's rule; ``path`` has the slopes of its chords."""
    a, s, a_dot, s_dot = path
    middle, end = (
        path._replace(alpha=a + part * length * a_dot, sigma=s + part * length * s_dot) for part in (0.5, 1)
    )
    here, half, there = (variance_of_state(at, datum, covariance).sqrt() for at in (path, middle, end))
    return (there / here + 4 * there / half + 1) / 6


def slope_of_velocity(
    path: Coefficients, datum: Tensor | float = 1.0, covariance: Tensor | float = 0.0
) -> Tensor:
    """g of the module's formula for v0 = 1, v1 ``datum`` and k ``covariance``, shaped like the times."""
    return _joint(path, datum, covariance) / variance_of_state(path, datum, covariance)


def _joint(path: Coefficients, datum: Tensor | float, covariance: Tensor | float) -> Tensor:
    """Half the derivative of the variance of x_t in t, which is the covariance of x_t and u."""
    a, s, a_dot, s_dot = path
    return a * a_dot * datum + s * s_dot + (a * s_dot + s * a_dot) * covariance


def variance_of_state(
    path: Coefficients, datum: Tensor | float = 1.0, covariance: Tensor | float = 0.0
) -> Tensor:
    """Var[x_t] for v0 = 1, v1 ``datum`` and k ``covariance``."""
    a, s, *_ = path
    return a * a * datum + s * s + 2 * a * s * covariance


def variance_left(
    path: Coefficients, datum: Tensor | float = 1.0, covariance: Tensor | float = 0.0
) -> Tensor:
    """Var[u | x_t] for v0 = 1, v1 ``datum`` and k ``covariance``."""
    a, s, a_dot, s_dot = path
    determinant = (a * s_dot - s * a_dot) ** 2
    return determinant * (datum - covariance * covariance) / variance_of_state(path, datum, covariance)
