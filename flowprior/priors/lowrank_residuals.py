"""Residuals of a mapper as a member of the family of subspace priors: mean × basis × distribution of latents.

    x0 = m(c) + ψ_c^½ (Q U_c λ_c^½ h + (I − Q Qᵀ) ε),   h ~ Σ_k π_k N(h; μ_k, diag σ_k²)

The linear part is that of :mod:`flowprior.priors.conditional_spread`. The mixture is fitted afterwards to the
latents inferred from the data, as ``latent-gmm`` does for labels. It is one for all conditions: along the
principal axes of the condition it changes little with it, for where the covariance turns, the modes of the
residuals turn with it. Every coordinate of h has mean 0 and variance 1: what is left to learn is all that is
not Gaussian.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from flowprior.conditions import Condition
from flowprior.mixtures.samples import Reservoirs
from flowprior.ops.operators import normal
from flowprior.priors.conditional_spread import ConditionalSpread, RowAxes
from flowprior.priors.frame import Frame
from flowprior.priors.gmm import GmmPrior
from flowprior.priors.holdout import Holdout, conditioned
from flowprior.priors.mean_prior import Around
from flowprior.priors.network_training import KeptMean, MapperNetwork, NetworkTraining, train_network

MEAN_STEPS, MEAN_RATE = 400, 1e-3
"""The most optimiser steps in which the mean is improved, given the latents, and their peak rate."""
SAMPLE = 16384
"""The number of rows that EM fits the mixture to."""
LEAST_SCALE, LEAST_VARIANCE = 0.05, 0.01
"""The standard deviation that EM adds to a component's, and the least variance of one."""


class LowRankResiduals(nn.Module):
    """A low-rank covariance of residuals that a network gives from the condition, and a mixture of latents.

    Args:
        condition: kind and size of the condition, labels or embeddings.
        dim: D, numbers in an event.
        rank: r, cut to D.
        components: Gaussians in the mixture of the latents; 1 makes it the standard normal.
        hidden: width of the network.
        depth: residual blocks of the network.
        floor: added to the variances of source samples.
    """

    def __init__(
        self,
        condition: Condition,
        dim: int,
        rank: int,
        components: int,
        hidden: int,
        depth: int,
        floor: float,
    ) -> None:
        super().__init__()
        self.components = components
        self.spread = ConditionalSpread(condition, dim, min(rank, dim), hidden, depth, floor)
        self.latents = GmmPrior(components, reg_covar=LEAST_SCALE**2, shrinkage=1.0, tol=1e-2)

    def fit(
        self,
        data: Holdout,
        mapper: MapperNetwork,
        center: Tensor,
        options: NetworkTraining,
        generator: torch.Generator | None,
    ) -> None:
        """Learn the covariance (:meth:`ConditionalSpread.fit`), then the mixture of the inferred latents.

        Args:
            data: rows to train on, and those held out.
            mapper: fitted by squared error; it is improved.
            center: mean of all x1, ``[D]``.
            options: of the training of the covariance.
            generator: of all randomness.
        """
        self.spread.fit(data, mapper, center, options, generator)
        self._fit_latents(data, mapper, center, generator)
        if self.components > 1:
            self._improve_mean(data, mapper, center, options, generator)
            self._fit_latents(data, mapper, center, generator)
        self.requires_grad_(False)

    def _improve_mean(
        self,
        data: Holdout,
        mapper: MapperNetwork,
        center: Tensor,
        options: NetworkTraining,
        generator: torch.Generator | None,
    ) -> None:
        """Train the mapper by the likelihood of the whole prior; covariance and mixture stay.

        A row says more of the mean where it is known which mode the row is in: the mean is then as sure as
        the width of a mode makes it, not as the distance between modes. A mean whose squared error on
        held-out rows has clearly risen is left as it was.
        """
        kept = KeptMean(mapper, data, center)

        def loss(x: Tensor, cond: Tensor, _: torch.Generator | None) -> Tensor:
            loc = mapper(cond) + center
            with torch.no_grad():
                frame = self.spread.frame(loc, cond)
            h, density = replace(frame, loc=loc).log_density_around(x)
            return -(density + self.latents.log_prob(h)).mean() / x.shape[1]

        options = replace(options, steps=min(options.steps, MEAN_STEPS), lr=MEAN_RATE)
        train_network(mapper, loss, data, options, generator)
        kept.restored()

    @torch.no_grad()
    def _fit_latents(
        self, data: Holdout, mapper: MapperNetwork, center: Tensor, generator: torch.Generator | None
    ) -> None:
        """Fit the mixture to the inferred latents of a uniform sample of rows."""
        like = self.spread.basis
        sample = Reservoirs(1, SAMPLE, like.shape[1], like.dtype)
        for x, cond in conditioned(data.rows(held_out=False)):
            frame = self.spread.frame(mapper(cond) + center, cond)
            noise = torch.randn(frame.spread.shape, generator=generator, dtype=x.dtype).to(x.device)
            h = frame.noised(frame.coordinates(x), noise)
            sample.update(h.cpu(), torch.zeros(len(h), dtype=torch.long), generator)
        rows, mixture = sample.rows[0][sample.filled[0]], self.latents
        mixture.components = min(self.components, len(rows))
        mixture.fit(rows.to(like.device), generator=generator)
        mixture.var = mixture.var.clamp_min(LEAST_VARIANCE)
        self.standardise_latents()

    def standardise_latents(self) -> None:
        """Shift and scale the mixture so that every coordinate has mean 0 and variance 1."""
        mixture = self.latents
        weight, loc, var = mixture.logits[0].softmax(0), mixture.loc, mixture.get_buffer("var")
        center = weight @ loc[0]
        variance = weight @ ((loc[0] - center).square() + var[0])
        mixture.loc, mixture.var = nn.Buffer((loc - center) * variance.rsqrt()), var / variance

    def _frame(self, around: Around) -> Frame:
        frame = self.spread.frame(around.loc, around.cond)
        return replace(frame, noise=frame.noise * around.width.square())

    def frame(self, around: Around, null: Tensor, center: Tensor) -> Frame:
        """Return the linear part; the rows ``null``, bool ``[B]``, have the moments of all data."""
        frame, spread, rows = self._frame(around), self.spread, null[:, None]
        if not bool(null.any()):
            return frame
        assert isinstance(frame.axes, RowAxes)
        rotation = torch.where(rows[..., None], spread.null_rotation, frame.axes.rotation)
        return replace(
            frame,
            loc=torch.where(rows, center, frame.loc),
            noise=torch.where(rows, spread.null_noise, frame.noise),
            spread=torch.where(rows, spread.null_spread, frame.spread),
            axes=replace(frame.axes, rotation=rotation),
        )

    def sample(self, around: Around, generator: torch.Generator | None) -> Tensor:
        """Draw x0 ``[B, D]`` around ``loc``."""
        h = self.latents.sample(None, len(around.loc), generator=generator)
        epsilon = normal(*around.loc.shape, like=around.loc, generator=generator)
        return self._frame(around).place(h, epsilon)

    def infer(self, x1: Tensor, around: Around, generator: torch.Generator | None) -> Tensor:
        """Draw x0 ``[B, D]`` with latents inferred from x1 ``[B, D]``."""
        frame = self._frame(around)
        epsilon, latent = frame.draw_noise(generator)
        return frame.source(x1.to(around.loc), latent, epsilon)

    def log_prob(self, x: Tensor, around: Around) -> Tensor:
        """Return log p0(x | c) ``[B]`` in nats."""
        h, density = self._frame(around).log_density_around(x)
        return density + self.latents.log_prob(h)
