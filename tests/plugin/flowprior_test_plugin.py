"""A prior and a coupling as somebody else would write them."""

from __future__ import annotations

import torch
from torch import Tensor

from flowprior.couplings import PairingCoupling
from flowprior.priors import Prior


class UniformBoxPrior(Prior):
    """Uniform in the box that holds the data, whatever the condition.

    Args:
        margin: width added on every side.
    """

    low: Tensor
    high: Tensor

    def __init__(self, margin: float = 0.5) -> None:
        super().__init__()
        self.margin = margin
        self.register_buffer("low", torch.empty(0))
        self.register_buffer("high", torch.empty(0))

    def _fit(self, data, generator):
        batches = [(x.amin(0), x.amax(0)) for x, _ in data]
        self.low = torch.stack([low for low, _ in batches]).amin(0) - self.margin
        self.high = torch.stack([high for _, high in batches]).amax(0) + self.margin

    def _sample(self, cond, n, generator):
        uniform = torch.rand(n, len(self.low), generator=generator, dtype=self.low.dtype)
        return self.low + uniform * (self.high - self.low)

    def _log_prob(self, x, cond):
        inside = ((x >= self.low) & (x <= self.high)).all(1)
        volume = (self.high - self.low).log().sum()
        return torch.where(inside, -volume, -torch.inf)

    def _mean(self, cond, n):
        return ((self.low + self.high) / 2).repeat(n, 1)


class ReversedCoupling(PairingCoupling):
    """Starts in reversed order: a pairing as good as any under a prior without condition."""

    def pair(self, x0, x1, cond, *, generator=None):
        return torch.arange(len(x0)).flip(0)
