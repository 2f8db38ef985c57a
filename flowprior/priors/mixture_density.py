"""A mixture of Gaussians whose parameters a network gives from the condition (Bishop 1994).

    p(h | c) = Σ_k π_k(c) N(h; μ_k(c), diag σ_k(c)²)

EM fits one mixture for all conditions, and the network says it by its last bias alone. Whatever the network
says, every coordinate has mean 0 and variance 1: the mixture's own moments are known in closed form, and it
is moved and scaled by them. What is left to learn is all that is not Gaussian.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from flowprior.conditions import Condition
from flowprior.ops.mixture import LOG_2PI
from flowprior.priors.gmm import GmmPrior
from flowprior.priors.mapper_training import Mapper

LEAST_SCALE = 0.05
"""Least standard deviation of a component, before the mixture is scaled."""


LEAST_LOGIT = -10.0
"""Of a component that EM left without examples."""


class Components(NamedTuple):
    """``log_weight`` ``[B, K]``, ``mean`` and ``scale`` ``[B, K, r]`` of each row's mixture."""

    log_weight: Tensor
    mean: Tensor
    scale: Tensor


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

    def forward(self, cond: Tensor) -> Components:
        """The mixtures of conditions ``[B]`` or ``[B, E]``."""
        count, features = self.components, self.features
        logits, mean, scale = self.network(cond).split([count, count * features, count * features], dim=1)
        mean, scale = mean.unflatten(1, (count, features)), scale.unflatten(1, (count, features))
        return _standardised(logits.log_softmax(1), mean, functional.softplus(scale) + LEAST_SCALE)

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


def _standardised(log_weight: Tensor, mean: Tensor, scale: Tensor) -> Components:
    """The mixtures moved and scaled so that every coordinate has mean 0 and variance 1."""
    weight = log_weight.exp()[..., None]
    centre = (weight * mean).sum(1, keepdim=True)
    variance = (weight * ((mean - centre).square() + scale.square())).sum(1, keepdim=True)
    return Components(log_weight, (mean - centre) * variance.rsqrt(), scale * variance.rsqrt())
