"""Captions of several events each, whose mean is no linear function of their embeddings."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from flowprior.priors import Prior
from flowprior.priors.mean_prior import FarConditions

WIDTH, DIM, EACH = 4, 6, 5
NOISE = torch.tensor([0.1, 0.2, 0.3, 0.3, 0.4, 0.5])


def mean_of(cond: Tensor) -> Tensor:
    """E[x | c] ``[B, 6]`` of embeddings ``[B, 4]``."""
    generator = torch.Generator().manual_seed(7)
    first, second = torch.randn(WIDTH, 24, generator=generator), torch.randn(24, DIM, generator=generator)
    return torch.sin(1.5 * cond @ first) @ second / 24**0.5 * 2 + 1


def captions(count: int, seed: int, each: int = EACH) -> tuple[Tensor, Tensor]:
    """Events ``[count · each, 6]`` and embeddings of ``count`` captions, in mixed order."""
    generator = torch.Generator().manual_seed(seed)
    cond = torch.randn(count, WIDTH, generator=generator).repeat_interleave(each, 0)
    x = mean_of(cond) + NOISE * torch.randn(len(cond), DIM, generator=generator)
    order = torch.randperm(len(x), generator=generator)
    return x[order], cond[order]


def as_near(prior: Prior) -> Prior:
    """Return a copy that takes every embedding as near to those of the fit."""
    prior = copy.deepcopy(prior)
    prior.distance = FarConditions().to(prior.center)
    return prior
