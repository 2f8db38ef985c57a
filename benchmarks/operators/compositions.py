"""What people write today for the operators of ``flowprior.ops``: eager compositions of torch, in float32.

Each takes the parameters of a mixture as tables (logits ``[C, K]``, mean and scale ``[C, K, D]``) and
labels ``[B]``, as the operators do. ``torch.compile`` of each is timed too.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal


def sample(logits: Tensor, mean: Tensor, scale: Tensor, cond: Tensor) -> Tensor:
    """multinomial, gather, randn, addcmul."""
    component = torch.multinomial(logits[cond].softmax(-1), 1)[:, 0]
    noise = torch.randn(len(cond), mean.shape[-1])
    return torch.addcmul(mean[cond, component], scale[cond, component], noise)


def mixture(logits: Tensor, mean: Tensor, scale: Tensor, cond: Tensor) -> MixtureSameFamily:
    """torch.distributions on gathered parameters ``[B, K, D]``."""
    parts = Independent(Normal(mean[cond], scale[cond], validate_args=False), 1, validate_args=False)
    return MixtureSameFamily(Categorical(logits=logits[cond]), parts, validate_args=False)


def mixture_sample(logits: Tensor, mean: Tensor, scale: Tensor, cond: Tensor) -> Tensor:
    """MixtureSameFamily.sample."""
    return mixture(logits, mean, scale, cond).sample()


def mixture_log_prob(x: Tensor, logits: Tensor, mean: Tensor, scale: Tensor, cond: Tensor) -> Tensor:
    """MixtureSameFamily.log_prob."""
    return mixture(logits, mean, scale, cond).log_prob(x)


def two_products(x: Tensor, logits: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """log p(x | c) ``[B, C]`` as x²·a + x·b + constant: two matrix products, which cancel far from 0."""
    conditions, components, dim = mean.shape
    precision = scale.reciprocal().square().view(-1, dim)
    centre = mean.reshape(-1, dim)
    constant = (centre.square() * precision).sum(1) + 2 * scale.log().sum(-1).flatten()
    quadratic = x.square() @ precision.T - 2 * (x @ (centre * precision).T) + constant
    joint = -0.5 * (quadratic + dim * math.log(2 * math.pi))
    return (joint.view(-1, conditions, components) + logits.log_softmax(-1)).logsumexp(-1)


def path(
    logits: Tensor, mean: Tensor, scale: Tensor, cond: Tensor, x1: Tensor, t: Tensor
) -> tuple[Tensor, Tensor]:
    """A source sample drawn, then the straight path's point and velocity."""
    x0 = sample(logits, mean, scale, cond)
    return interpolate(x0, x1, t)


def interpolate(x0: Tensor, x1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """t x1 + (1 − t) x0 and x1 − x0."""
    t = t[:, None]
    return t * x1 + (1 - t) * x0, x1 - x0


def loss(v: Tensor, x0: Tensor, x1: Tensor) -> Tensor:
    """((v − (x1 − x0))²).mean()."""
    return (v - (x1 - x0)).square().mean()
