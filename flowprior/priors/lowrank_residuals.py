"""Residuals of a mapper as a member of the family of subspace priors: mean × basis × law of the latents.

    x0 = m(c) + ψ_c^½ (Q U_c λ_c^½ h + (I − Q Qᵀ) ε),   h ~ p(h | c) = Σ_k π_k(c) N(h; μ_k(c), diag σ_k(c)²)

The linear part is that of :mod:`flowprior.priors.conditional_spread`. The law is a mixture of Gaussians whose
parameters a network gives from the condition (Bishop 1994). It is fitted afterwards to the latents inferred
from the data, as ``latent-gmm`` does for labels. Along the principal axes of the condition it changes little
with it: where the covariance turns, the modes of the residuals turn with it. So EM fits one mixture for all
conditions, and the network says it by its last bias alone.

Whatever the network says, every coordinate of h has mean 0 and variance 1: the mixture's own moments are
known in closed form, and it is moved and scaled by them. What is left to learn is all that is not Gaussian.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from flowprior.conditions import Condition
from flowprior.mixtures.covariance import FitSettings
from flowprior.mixtures.samples import Reservoirs
from flowprior.ops.mixture import LOG_2PI
from flowprior.ops.random import uniform
from flowprior.priors.conditional_spread import ConditionalSpread, RowAxes
from flowprior.priors.far import Around
from flowprior.priors.frame import Frame
from flowprior.priors.gmm import GmmPrior
from flowprior.priors.holdout import Holdout, conditioned
from flowprior.priors.network_training import (
    KeptMean,
    Mapper,
    MapperNetwork,
    NetworkTraining,
    train_network,
)

MEAN_STEPS, MEAN_RATE = 400, 1e-3
"""Most optimiser steps in which the mean is improved under the law of the latents, and their peak rate."""
SAMPLE = 16384
"""Rows that EM fits the mixture to."""
LEAST_SCALE = 0.05
"""Least standard deviation of a component, before the mixture is scaled."""
LEAST_LOGIT = -10.0
"""The log-weight of a component that EM left without examples."""


class LowRankResiduals(nn.Module):
    """Low-rank covariance of residuals, a network of the condition, and the law of their latents.

    Args:
        condition: kind and size of the condition, labels or embeddings.
        dim: D, numbers in an event.
        rank: r, cut to D.
        components: Gaussians in the law of the latents; 1 makes it the standard normal.
        hidden: width of the networks.
        depth: residual blocks of the networks.
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
        self.floor = floor
        rank = min(rank, dim)
        self.spread = ConditionalSpread(condition, dim, rank, hidden, depth)
        self.law = MixtureDensity(condition, rank, components, hidden, depth)

    def fit(
        self,
        data: Holdout,
        mapper: MapperNetwork,
        center: Tensor,
        options: NetworkTraining,
        generator: torch.Generator | None,
    ) -> None:
        """Learn the covariance, then the law of the inferred latents; see :meth:`ConditionalSpread.fit`.

        Args:
            data: rows to train on, and those held out.
            mapper: fitted by squared error; it is improved.
            center: mean of all x1, ``[D]``.
            options: of the training of the covariance.
            generator: of all randomness.
        """
        settings = FitSettings(self.floor, 0.0, generator)
        self.spread.fit(data, mapper, center, settings, options)
        if self.law.components > 1:
            self.law.start_at(self._some_latents(data, mapper, center, generator), generator)
            self._improve_mean(data, mapper, center, options, generator)
            self.law.start_at(self._some_latents(data, mapper, center, generator), generator)
        self.requires_grad_(False)

    def _improve_mean(
        self,
        data: Holdout,
        mapper: MapperNetwork,
        center: Tensor,
        options: NetworkTraining,
        generator: torch.Generator | None,
    ) -> None:
        """Train the mapper by the likelihood of the whole prior; covariance and law stay.

        A row says more of the mean where it is known which mode the row is in: the mean is then as sure as
        the width of a mode makes it, not as the distance between modes. A mean whose squared error on
        held-out rows has clearly risen is left as it was.
        """
        kept = KeptMean(mapper, data, center)
        self.law.requires_grad_(False)

        def loss(x: Tensor, cond: Tensor, _: torch.Generator | None) -> Tensor:
            loc = mapper(cond) + center
            with torch.no_grad():
                frame = self.spread.frame(loc, cond)
            h, density = replace(frame, loc=loc).log_density_around(x)
            return -(density + self.law.log_prob(h, cond)).mean() / x.shape[1]

        steps = min(options.steps, MEAN_STEPS)
        options = replace(options, steps=steps, lr=MEAN_RATE)
        train_network(mapper, loss, data, options, generator)
        mapper.requires_grad_(False)
        kept.restored()

    def _some_latents(
        self, data: Holdout, mapper: MapperNetwork, center: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        """Inferred latents ``[n, r]`` of a uniform sample of at most ``SAMPLE`` rows."""
        like = self.spread.basis
        sample = Reservoirs(1, SAMPLE, like.shape[1], like.dtype)
        for x, cond in conditioned(data.rows(held_out=False)):
            with torch.no_grad():
                frame = self.spread.frame(mapper(cond) + center, cond)
                noise = torch.randn(frame.spread.shape, generator=generator, dtype=x.dtype).to(x.device)
                h = frame.noised(frame.coordinates(x), noise)
            sample.update(h.cpu(), torch.zeros(len(h), dtype=torch.long), generator)
        return sample.rows[0][sample.filled[0]]

    def frame(self, around: Around, null: Tensor, center: Tensor) -> Frame:
        """Return the linear part; the rows ``null``, bool ``[B]``, have the moments of all data."""
        frame, spread, rows = self.spread.frame(around.loc, around.cond), self.spread, null[:, None]
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
        frame = self.spread.frame(around.loc, around.cond)
        epsilon, noise = frame.draw_noise(generator)
        chances = uniform(len(around.loc), around.loc.device, generator)
        return frame.place(self.law.place(around.cond, chances, noise), epsilon)

    def infer(self, x1: Tensor, around: Around, generator: torch.Generator | None) -> Tensor:
        """Draw x0 ``[B, D]`` with latents inferred from x1 ``[B, D]``."""
        frame = self.spread.frame(around.loc, around.cond)
        epsilon, latent = frame.draw_noise(generator)
        return frame.source(x1.to(around.loc), latent, epsilon)

    def log_prob(self, x: Tensor, around: Around) -> Tensor:
        """log p0(x | c) ``[B]`` in nats."""
        h, density = self.spread.frame(around.loc, around.cond).log_density_around(x)
        return density + self.law.log_prob(h.to(around.loc), around.cond).to(density)


class MixtureDensity(nn.Module):
    """The law of h ``[B, r]`` under labels or embeddings: K diagonal Gaussians, of mean 0 and variances 1.

    Args:
        condition: kind and size of the condition, labels or embeddings.
        features: r, numbers in h.
        components: K.
        hidden: width of the network.
        depth: residual blocks of the network.
    """

    def __init__(
        self, condition: Condition, features: int, components: int, hidden: int = 128, depth: int = 2
    ) -> None:
        super().__init__()
        self.features, self.components = features, components
        self.network = Mapper(condition, components * (1 + 2 * features), hidden, depth)

    @torch.no_grad()
    def start_at(self, h: Tensor, generator: torch.Generator | None) -> None:
        """Take the mixture that EM fits to rows h ``[n, r]``, whatever the condition."""
        self.network.initialise(generator)
        count = min(self.components, len(h))
        mixture = GmmPrior(count, reg_covar=LEAST_SCALE**2, shrinkage=1.0, tol=1e-2).fit(
            h, generator=generator
        )
        weights = functional.pad(mixture.logits[0], (0, self.components - count), value=LEAST_LOGIT)
        spare = (0, 0, 0, self.components - count)
        scale = functional.pad((mixture.var[0].sqrt() - LEAST_SCALE).clamp_min(LEAST_SCALE), spare, value=1.0)
        parts = (weights.clamp_min(LEAST_LOGIT), functional.pad(mixture.loc[0], spare), scale.expm1().log())
        assert self.network.out.bias is not None
        self.network.out.bias.copy_(torch.cat([part.flatten() for part in parts]))

    def forward(self, cond: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-weights ``[B, K]``, means and deviations ``[B, K, r]`` of conditions ``[B]`` or ``[B, E]``.

        They are moved and scaled so that every coordinate has mean 0 and variance 1.
        """
        count, features = self.components, self.features
        logits, mean, scale = self.network(cond).split([count, count * features, count * features], dim=1)
        mean, scale = mean.unflatten(1, (count, features)), scale.unflatten(1, (count, features))
        log_weight, scale = logits.log_softmax(1), functional.softplus(scale) + LEAST_SCALE
        weight = log_weight.exp()[..., None]
        centre = (weight * mean).sum(1, keepdim=True)
        variance = (weight * ((mean - centre).square() + scale.square())).sum(1, keepdim=True)
        return log_weight, (mean - centre) * variance.rsqrt(), scale * variance.rsqrt()

    def log_prob(self, h: Tensor, cond: Tensor) -> Tensor:
        """log p(h | c) ``[B]`` in nats, for h ``[B, r]``."""
        log_weight, mean, scale = self(cond)
        white = (h[:, None].to(mean) - mean) / scale
        density = -0.5 * (white.square() + LOG_2PI).sum(2) - scale.log().sum(2)
        return (log_weight + density).logsumexp(1)

    def place(self, cond: Tensor, uniform: Tensor, noise: Tensor) -> Tensor:
        """h ``[B, r]``: ``uniform`` ``[B]`` chooses the component, ``noise`` ``[B, r]`` is normal."""
        log_weight, mean, scale = self(cond)
        passed = log_weight.exp().cumsum(1) <= uniform[:, None].to(log_weight)
        chosen = passed.sum(1).clamp_max(self.components - 1)
        rows = torch.arange(len(chosen), device=chosen.device)
        return mean[rows, chosen] + scale[rows, chosen] * noise
