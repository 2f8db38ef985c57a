"""Residuals of a mapper as a member of the family of subspace priors: mean × basis × law of the latents.

    x0 = m(c) + ψ_c^½ (Q U_c λ_c^½ h + (I − Q Qᵀ) ε),   h ~ p(h | c)

The linear part is that of :mod:`flowprior.priors.conditional_spread`. The law, that of
:mod:`flowprior.priors.mixture_density`, is of U h, which moves smoothly with the condition, and is fitted
afterwards to the latents inferred from the data, as ``latent-gmm`` does for labels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flowprior.conditions import Condition
from flowprior.mixtures import FitSettings
from flowprior.ops import Stream, standard_normal, uniform
from flowprior.priors.conditional_spread import ConditionalSpread, Means, RotatedFrame
from flowprior.priors.density_training import DensityTraining, Objective, train_density
from flowprior.priors.frame import Frame
from flowprior.priors.holdout import Holdout
from flowprior.priors.mixture_density import MixtureDensity


class LowRankResiduals(nn.Module):
    """Low-rank covariance and law of the latents of residuals, both of them networks of the condition.

    Args:
        condition: kind and size of the condition, labels or embeddings.
        dim: D, numbers in an event.
        rank: r, cut to D.
        components: Gaussians in the law of the latents; 1 makes it the standard normal.
        hidden: width of the networks.
        depth: residual blocks of the networks.
    """

    def __init__(
        self, condition: Condition, dim: int, rank: int, components: int, hidden: int, depth: int
    ) -> None:
        super().__init__()
        rank = min(rank, dim)
        self.spread = ConditionalSpread(condition, dim, rank, hidden, depth)
        self.law = MixtureDensity(condition, rank, components, hidden, depth)

    def fit(
        self, data: Holdout, means: Means, settings: FitSettings, options: DensityTraining, center: Tensor
    ) -> None:
        """Learn the covariance, then the law of the inferred latents; see :meth:`ConditionalSpread.fit`."""
        self.spread.fit(data, means, settings, options, center)
        self.law.initialise(settings.generator)
        if self.law.components > 1:
            train_density(self.law, self._loss_of(means), data, options, settings.generator)
        self.requires_grad_(False)

    def _loss_of(self, means: Means) -> Objective:
        """Nats per latent of source samples inferred from x, with new noise at each call."""

        def loss(x: Tensor, cond: Tensor | None, generator: torch.Generator | None) -> Tensor:
            assert cond is not None
            with torch.no_grad():
                frame = self.spread.frame(means(cond), cond)
                noise = torch.randn(frame.spread.shape, generator=generator, dtype=x.dtype).to(x.device)
                h = frame.turned(frame.infer(x, noise))
            return -self.law.log_prob(h, cond).mean() / h.shape[1]

        return loss

    def frame(self, loc: Tensor, cond: Tensor) -> RotatedFrame:
        """The linear part around ``loc`` ``[B, D]`` under ``cond``."""
        return self.spread.frame(loc, cond)

    def sample(self, loc: Tensor, cond: Tensor, seed: Tensor) -> Tensor:
        """x0 ``[B, D]`` around ``loc``, from ``seed``."""
        frame = self.frame(loc, cond)
        epsilon, noise = _noise(frame, seed)
        h = self.law.place(cond, uniform(seed, len(loc)), noise)
        return frame.place(frame.turn_back(h), epsilon)

    def infer(self, x1: Tensor, loc: Tensor, cond: Tensor, seed: Tensor) -> Tensor:
        """x0 ``[B, D]`` with latents inferred from x1 ``[B, D]``, from ``seed``."""
        frame = self.frame(loc, cond)
        epsilon, noise = _noise(frame, seed)
        return frame.place(frame.infer(x1.to(loc), noise), epsilon)

    def log_prob(self, x: Tensor, loc: Tensor, cond: Tensor) -> Tensor:
        """log p0(x | c) ``[B]`` in nats."""
        frame = self.frame(loc, cond)
        h, density = frame.log_density_around(x)
        return density + self.law.log_prob(frame.turned(h).to(loc), cond).to(density)


def _noise(frame: Frame, seed: Tensor) -> tuple[Tensor, Tensor]:
    """Standard normal ε ``[B, D]``, and as many as the latents ``[B, r]``."""
    like = frame.loc
    epsilon = standard_normal(len(like), like.shape[1], like, seed)
    return epsilon, standard_normal(len(like), frame.spread.shape[1], like, seed, stream=Stream.LATENT)
