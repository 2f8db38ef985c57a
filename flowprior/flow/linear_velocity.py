"""The velocity that the first two moments of the pairs foretell: what is left is for the network to learn.

Take the pairs (x0, x1) of one condition as jointly Gaussian, with one mean μ, and along some direction
variances v0 and v1 and a covariance k. On the path x_t = α x1 + σ x0 with velocity u = α' x1 + σ' x0 the mean
of u given x_t is then linear,

    E[u | x_t] = (α' + σ') μ + g (x_t − (α + σ) μ),
    g = (α α' v1 + σ σ' v0 + (α σ' + σ α') k) / (α² v1 + σ² v0 + 2 α σ k).

With v0 = v1 and k = 0 on the straight path, g = (2t − 1)/((1 − t)² + t²).

The directions are those of the prior's leading subspace (:mod:`flowprior.priors.frame`). Along its r
coordinates h the low-rank fit makes v0 = v1 = 1, and the coupling says how a source sample follows its datum,
h0 = k h1 + noise. Outside, every coordinate is on its own, k = 0, and v1/v0 follows from ψ, which holds the
prior's variance floor f (``reg_covar``): the network need not learn to take that noise away again.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flowprior.couplings import Coupling
from flowprior.errors import OptionError
from flowprior.paths import Path
from flowprior.paths.base import Coefficients
from flowprior.priors import Prior, latents_of
from flowprior.priors.frame import Frame

LEAST_VARIANCE = 0.05
"""Of the data relative to the source samples'. Coordinates that hardly vary still do so now and then, in no
Gaussian way, and a network cannot talk a velocity out of it that expects nothing there: with 1e-6 the
held-out log-density of digits falls by thousands of nats, with 0.05 it stays; samples are as good."""


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
        if not is_known(prior, coupling):
            raise OptionError(
                f"prediction 'residual' needs the moments of the pairs, which prior '{prior.name}' with "
                f"coupling '{coupling.name}' does not tell; use prior latent-gmm or flow with coupling "
                "posterior or condot, or prediction 'velocity' (--set training.prediction=velocity)"
            )
        self.prior, self.coupling, self.path = prior, coupling, path

    def __call__(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        """The linear velocity ``[B, *event]`` at x ``[B, *event]``, times ``[B]`` and the condition."""
        frame = self._frame(cond, len(x))
        flat = x.flatten(1).to(frame.loc.dtype)
        path = Coefficients(*(c[:, None] for c in self.path.coefficients(t.to(flat.dtype))))
        white = (flat - (path.alpha + path.sigma) * frame.loc) * frame.noise.rsqrt()
        inside = frame.into(white)
        outside = white - frame.out_of(inside)
        slope = self.coupling.latent_slope(frame.spread)
        assert slope is not None
        along = slope_of_velocity(path, covariance=slope) * inside
        white_velocity = frame.out_of(along)
        white_velocity = white_velocity + slope_of_velocity(path, datum=variance_outside(frame)) * outside
        velocity = (path.alpha_dot + path.sigma_dot) * frame.loc + white_velocity * frame.noise.sqrt()
        return velocity.view_as(x).to(x.dtype)

    def _frame(self, cond: Tensor | None, n: int) -> Frame:
        latents = latents_of(self.prior)
        frame = None if latents is None else latents.frame(cond, n)
        assert frame is not None
        return frame


@torch.no_grad()
def variance_outside(frame: Frame) -> Tensor:
    """The data's variance over the source samples' in every coordinate outside the subspace, ``[B, D]``.

    ψ − f is what the factor leaves of the data's variance. The factor holds only what exceeds ψ, so that is
    the variance outside and a share l of ψ, where l is the coordinate's leverage, the squared length of its
    row in the basis: (ψ − f)/ψ = l + (1 − l) v1/v0.
    """
    leverage = frame.leverage
    left = (frame.noise - frame.floor) / frame.noise
    return ((left - leverage) / (1 - leverage).clamp_min(1e-6)).clamp(LEAST_VARIANCE, 1)


def is_known(prior: Prior, coupling: Coupling) -> bool:
    """Whether prior and coupling, fitted or not, tell the moments of their pairs."""
    latents = latents_of(prior)
    fits = latents is not None and latents.fits_latents
    return fits and coupling.latent_slope(torch.ones(1, 1)) is not None


def slope_of_velocity(
    path: Coefficients, datum: Tensor | float = 1.0, covariance: Tensor | float = 0.0
) -> Tensor:
    """g of the module's formula for v0 = 1, v1 ``datum`` and k ``covariance``, shaped like the times."""
    a, s, a_dot, s_dot = path
    joint = a * a_dot * datum + s * s_dot + (a * s_dot + s * a_dot) * covariance
    return joint / (a * a * datum + s * s + 2 * a * s * covariance)
