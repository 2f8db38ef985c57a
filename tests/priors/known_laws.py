"""Two classes of two modes each in the plane, of known law; what a prior fitted to them must give back."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from flowprior.priors import Prior

SHARES = torch.tensor([0.3, 0.5])
CENTRES = torch.tensor([[0.0, 0.0], [3.0, 3.0]])
SIDES = torch.tensor([[2.0, 1.0], [-1.0, 2.0]])
DEVIATION = 0.3


def two_modes(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Rows ``[count, 2]`` and their labels; mode 1 of label c has exactly the share ``SHARES[c]``."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    place = (torch.arange(count) // 2).double() * 0.6180339887498949 % 1
    side = (place < SHARES[labels]).float() * 2 - 1
    noise = DEVIATION * torch.randn(count, 2, generator=generator)
    return CENTRES[labels] + side[:, None] * SIDES[labels] + noise, labels


def law(label: int) -> MixtureSameFamily:
    """The law of one label."""
    means = CENTRES[label] + torch.stack([SIDES[label], -SIDES[label]])
    share = torch.stack([SHARES[label], 1 - SHARES[label]])
    return MixtureSameFamily(Categorical(share), Independent(Normal(means, DEVIATION), 1))


def along(x: Tensor, label: int) -> Tensor:
    """Where x lies between the modes: 1 at the first, −1 at the second."""
    side = SIDES[label]
    return (x - CENTRES[label]) @ side / side.square().sum()


def mass(prior: Prior, label: int) -> float:
    """Integral of exp(log_prob) over a grid that holds all but 1e-6 of the law."""
    axis = torch.linspace(-4.5, 7.5, 101)
    grid = torch.cartesian_prod(axis, axis)
    density = prior.log_prob(grid, torch.full((len(grid),), label)).exp().sum()
    return float(density * (axis[1] - axis[0]) ** 2)


def excess(prior: Prior, x: Tensor, labels: Tensor) -> float:
    """Mean of prior's log-density minus the law's, in nats."""
    known = torch.where(labels == 0, law(0).log_prob(x), law(1).log_prob(x))
    return float((prior.log_prob(x, labels) - known).mean())


def moments_off(prior: Prior, x: Tensor, labels: Tensor, label: int) -> tuple[float, float]:
    """Largest error of the samples' mean and covariance against rows x, in units of their deviation."""
    own = x[labels == label]
    drawn = prior.sample(torch.full((20_000,), label), generator=torch.Generator().manual_seed(1))
    scale = own.std(0)
    mean = (drawn.mean(0) - own.mean(0)) / scale
    covariance = (drawn.T.cov() - own.T.cov()) / (scale[:, None] * scale)
    return float(mean.abs().max()), float(covariance.abs().max())
