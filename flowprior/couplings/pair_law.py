"""PairLaw: the Gaussian law of a pair (x0, x1) given its condition, and what follows from it on the way.

Take the pairs as jointly Gaussian, with means μ0 and μ1, and along some direction variances v0 and v1 and a
covariance k. On the path x_t = α x1 + σ x0 with velocity u = α' x1 + σ' x0,

    E[u | x_t] = α' μ1 + σ' μ0 + g (x_t − E[x_t]),   g = (α α' v1 + σ σ' v0 + (α σ' + σ α') k) / s²,
    Var[x_t] = s² = α² v1 + σ² v0 + 2 α σ k,
    Var[u | x_t] = (α σ' − σ α')² (v0 v1 − k²) / s².

On the straight path with v0 = v1 and k = 0 the slope is g = (2t − 1)/((1 − t)² + t²). The first line is the
*linear velocity*; what it leaves is for a network to learn.

The directions are those of the prior's frame (:mod:`flowprior.priors.frame`). Along its r principal axes
v0 = v1 = λ, and the coupling says how a source sample follows its data sample, k = a λ. Outside, every
coordinate is on its own, and v1 follows from the noise ψ, which holds the prior's covariance regularisation:
the network need not learn to take that noise away again.

Over an interval of length h, on which the chords of the path's coefficients have the slopes Δα and Δσ, the
average of the linear velocity has a closed form. Along each direction x_t − E[x_t] becomes s_e/s of itself,
where s_e² is the variance at the end, and

    (s_e/s − 1)/h = 2 (ᾱ Δα v1 + σ̄ Δσ v0 + (ᾱ Δσ + σ̄ Δα) k) / (s (s + s_e)),

where ᾱ and σ̄ are the means of the coefficients of both ends. At h = 0 this is g. A constant that is added
to the velocity adds itself, times the mean of s_e/s_τ over the interval's times τ, to the average. Where the
variance outside of the axes differs from coordinate to coordinate, that is nearly so. From t = 0 on, source
samples that are carried so have nearly the first two moments of the pairs: a sampler that starts late spends
no evaluation on that part of the way. Diffusion models start late from what some other model gives them (Lyu
et al. 2022, arXiv 2205.12524; Zheng et al. 2022, arXiv 2202.09671); here the prior gives it.

The null condition of classifier-free guidance has a law, too, that of all data together: what conditions
differ in is shared by x0 and x1 there, so that under ``posterior`` the slope a = 1 − 1/λ holds for them, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple

import torch
from torch import Tensor

from flowprior.ops.subspace import subspace_view
from flowprior.paths.base import PathTime
from flowprior.priors.frame import DiagonalFrame, Frame

LEAST_VARIANCE = 0.05
"""The lower bound on the data variance outside of the axes, in units of ψ. With a smaller bound the linear
velocity is too confident for near-constant pixels, and the network cannot correct it: with 1e-6 the held-out
log-density of digits falls by thousands of nats, with 0.05 it stays; samples are as good."""
SHORTEST = 1e-3
"""The length of an interval, in time, below which its chord is the tangent."""


class PairVariances(NamedTuple):
    """The variances v0 of x0 and v1 of x1 and their covariance k, along some directions, and what follows."""

    source: Tensor | float
    data: Tensor | float
    joint: Tensor | float

    def of_state(self, at: PathTime) -> Tensor:
        """Return s², the variance of x_t."""
        a, s = at.alpha, at.sigma
        return a * a * self.data + s * s * self.source + 2 * a * s * self.joint

    def with_velocity(self, at: PathTime) -> Tensor:
        """Return the covariance of x_t and u, which is half the derivative of s² in t."""
        _, a, s, a_dot, s_dot = at
        return a * a_dot * self.data + s * s_dot * self.source + (a * s_dot + s * a_dot) * self.joint

    def left(self, at: PathTime) -> Tensor:
        """Return the variance of u given x_t."""
        _, a, s, a_dot, s_dot = at
        determinant = (a * s_dot - s * a_dot) ** 2
        return determinant * (self.source * self.data - self.joint * self.joint) / self.of_state(at)

    def slope(self, at: PathTime) -> Tensor:
        """Return g, the slope of the linear velocity."""
        return self.with_velocity(at) / self.of_state(at)

    def average_slope(self, chord: PathTime, length: Tensor) -> Tensor:
        """Return (s_e/s − 1)/h on a chord of this ``length``."""
        end = _along(chord, length)
        here, there = (self.of_state(place).sqrt() for place in (chord, end))
        middle = chord._replace(alpha=(chord.alpha + end.alpha) / 2, sigma=(chord.sigma + end.sigma) / 2)
        return 2 * self.with_velocity(middle) / (here * (here + there))

    def mean_growth(self, chord: PathTime, length: Tensor) -> Tensor:
        """Return the mean of s_e/s_τ on a chord of this ``length``, by Simpson's rule."""
        places = (chord, _along(chord, 0.5 * length), _along(chord, length))
        here, half, there = (self.of_state(place).sqrt() for place in places)
        return (there / here + 4 * there / half + 1) / 6


@dataclass(frozen=True)
class PairLaw:
    """The Gaussian law of B pairs, each under its condition; a coupling makes it (:meth:`Coupling.law`).

    Points, velocities and results are ``[B, *event]``; times are what :meth:`flowprior.Path.at` gives.

    Attributes:
        source_mean: μ0 ``[B, D]``.
        data_mean: μ1 ``[B, D]``.
        frame: the variances ψ ``[B, D]`` of the noise, and the axes along which pairs vary most with their
            variances λ ``[B, r]``; without axes there is noise alone.
        inside: the variances of x0 and x1 along each axis and their covariance, divided by λ, ``[B, r]``.
    """

    source_mean: Tensor
    data_mean: Tensor
    frame: Frame | DiagonalFrame
    inside: PairVariances

    @classmethod
    def of(cls, frame: Frame | DiagonalFrame, slope: Tensor) -> PairLaw:
        """Return the law of pairs whose latents h0 follow h1 with the slopes a ``[B, r]``."""
        data_mean = frame.loc if frame.data_loc is None else frame.data_loc
        return cls(frame.loc, data_mean, frame, PairVariances(1.0, 1.0, slope))

    @cached_property
    def outside(self) -> PairVariances:
        """Outside of the axes, ``[B, D]`` in units of ψ."""
        return PairVariances(1.0, self.frame.data.clamp_min(LEAST_VARIANCE), self.frame.shared)

    def velocity(self, x: Tensor, at: PathTime) -> Tensor:
        """Return the linear velocity E[u | x_t]."""
        rows, at = self._rows(x), self._columns(at)
        return self._velocity(rows, at).view_as(x).to(x.dtype)

    def standardised(self, x: Tensor, at: PathTime) -> tuple[Tensor, Tensor, Tensor]:
        """Return (x − E[x_t])/Var[x_t]^½, the linear velocity, and Var[u | x_t]^½ of each coordinate."""
        rows, at = self._rows(x), self._columns(at)
        found = self._natively_standardised(rows, at)
        if found is None:
            variance, left = self._variances(at)
            found = ((rows - self._mean(at)) * variance.rsqrt(), self._velocity(rows, at), left.sqrt())
        standard, velocity, deviation = (part.view_as(x).to(x.dtype) for part in found)
        return standard, velocity, deviation

    def average(self, x: Tensor, here: PathTime, there: PathTime, v: Tensor | None = None) -> Tensor:
        """Return the average velocity from x at one time to another: the interval times it carries x there.

        Args:
            x: where the intervals begin.
            here, there: times at which they begin and end.
            v: the velocity at x, whose difference from the linear velocity does not change on the way; None
                for the linear velocity itself.
        """
        rows, here, there = self._rows(x), self._columns(here), self._columns(there)
        chord, length = _chord(here, there)
        found = self._affine(rows, chord, partial(PairVariances.average_slope, chord=chord, length=length))
        if v is not None:
            beyond = self._rows(v) - self._velocity(rows, here)
            growth = partial(PairVariances.mean_growth, chord=chord, length=length)
            found = found + self._scaled(beyond, growth)
        return found.view_as(x).to(x.dtype)

    def variances(self, at: PathTime) -> tuple[Tensor, Tensor]:
        """Return Var[x_t], and Var[u | x_t], which the linear velocity leaves, ``[B, D]`` each."""
        return self._variances(self._columns(at))

    def mean(self, at: PathTime) -> Tensor:
        """Return E[x_t] ``[B, D]``."""
        return self._mean(self._columns(at))

    def _rows(self, x: Tensor) -> Tensor:
        return x.flatten(1).to(self.source_mean.dtype)

    def _columns(self, at: PathTime) -> PathTime:
        return PathTime(*(part[:, None].to(self.source_mean.dtype) for part in at))

    def _combined(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return α μ1 + σ μ0."""
        if self.data_mean is self.source_mean:
            return (alpha + sigma) * self.data_mean
        return alpha * self.data_mean + sigma * self.source_mean

    def _natively_standardised(self, rows: Tensor, at: PathTime) -> tuple[Tensor, Tensor, Tensor] | None:
        """Return the same by the native operator, which knows one mean and one variance of x0 and x1."""
        frame, (_, data, joint) = self.frame, self.inside
        if isinstance(frame, DiagonalFrame) or self.data_mean is not self.source_mean:
            return None
        if not isinstance(data, float) or not isinstance(joint, Tensor):
            return None
        tables = frame.tables(rows, *at, joint)
        if tables is None:
            return None
        times, lengths = torch.cat(at[1:], 1), frame.axes.lengths()
        return subspace_view(rows, times, tables, joint, lengths, frame.floor, LEAST_VARIANCE)

    def _mean(self, at: PathTime) -> Tensor:
        return self._combined(at.alpha, at.sigma)

    def _velocity(self, rows: Tensor, at: PathTime) -> Tensor:
        return self._affine(rows, at, partial(PairVariances.slope, at=at))

    def _affine(self, rows: Tensor, at: PathTime, slope: Callable[[PairVariances], Tensor]) -> Tensor:
        """Return α' μ1 + σ' μ0 + G (x − E[x_t]) ``[B, D]``, with the slopes of G along all directions."""
        return self._combined(at.alpha_dot, at.sigma_dot) + self._scaled(rows - self._mean(at), slope)

    def _scaled(self, rows: Tensor, factor: Callable[[PairVariances], Tensor]) -> Tensor:
        """Return rows ``[B, D]``, each direction times its own factor."""
        white, axes = rows * self.frame.noise.rsqrt(), self.frame.axes
        if axes is None:
            return factor(self.outside) * white * self.frame.noise.sqrt()
        inside = axes.into(white)
        projected, scaled = axes.out_of(torch.stack([inside, factor(self.inside) * inside], 1)).unbind(1)
        return torch.addcmul(scaled, factor(self.outside), white - projected) * self.frame.noise.sqrt()

    def _variances(self, at: PathTime) -> tuple[Tensor, Tensor]:
        frame, kinds = self.frame, (PairVariances.of_state, PairVariances.left)
        found = torch.stack([kind(self.outside, at) for kind in kinds], 1)
        if frame.axes is not None:
            along = torch.stack([kind(self.inside, at) for kind in kinds], 1) * frame.spread[:, None]
            room = (1 - frame.axes.leverage).clamp_min(0)
            found = torch.addcmul(frame.axes.diagonal(along), room[:, None], found)
        of_state, left = (frame.noise[:, None] * found).unbind(1)
        return of_state, left


def _along(chord: PathTime, length: Tensor) -> PathTime:
    """Return the place on a chord after this length."""
    alpha, sigma = chord.alpha + length * chord.alpha_dot, chord.sigma + length * chord.sigma_dot
    return chord._replace(alpha=alpha, sigma=sigma)


def _chord(here: PathTime, there: PathTime) -> tuple[PathTime, Tensor]:
    """Return the chord of a path, which has mean slopes in place of derivatives, and its length."""
    length = there.t - here.t
    short = length < SHORTEST
    divisor = torch.where(short, 1.0, length)
    alpha = torch.where(short, here.alpha_dot, (there.alpha - here.alpha) / divisor)
    sigma = torch.where(short, here.sigma_dot, (there.sigma - here.sigma) / divisor)
    return here._replace(alpha_dot=alpha, sigma_dot=sigma), length
