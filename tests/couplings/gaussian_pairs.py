"""Two classes with a low-rank spread, and the prior that they follow: what a linear velocity is exact for."""

from __future__ import annotations

import torch

from flowprior import Prior
from flowprior.data import TensorData

DIMS, RANK, FLOOR = 6, 2, 0.25


def gaussian_classes(count: int, seed: int = 0, planes: int = 2) -> TensorData:
    """Two classes with a low-rank spread, their own or a common one: a prior of rank ``RANK`` fits it."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    factors = torch.randn(2, DIMS, RANK, generator=torch.Generator().manual_seed(7))
    z = torch.randn(count, RANK, generator=generator)
    noise = 0.3 * torch.randn(count, DIMS, generator=generator)
    means = torch.tensor([3.0, -1.0])[labels][:, None]
    return TensorData(
        means + torch.einsum("ndr,nr->nd", factors[labels % planes], z) + noise, labels, name="two"
    )


def exact_prior(data: TensorData) -> Prior:
    """The prior that the data follow."""
    prior = Prior.create("latent-gmm", components=1, rank=RANK, reg_covar=FLOOR, shrinkage=0.0)
    return prior.fit((data.x, data.cond), generator=torch.Generator().manual_seed(0))
