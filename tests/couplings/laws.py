"""A two-class problem and two-sample tests, for the laws of couplings."""

from __future__ import annotations

import functools

import torch
from scipy.stats import ks_2samp
from torch import Tensor

from flowprior.couplings import Coupling
from flowprior.priors import Prior

ROUNDS, BATCH = 12, 60


def two_classes(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """(x1 ``[n, 2]`` float64, labels): a slanted Gaussian on the left (1 in 3), two blobs on the right."""
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.rand(n, generator=generator) < 2 / 3).long()
    noise = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    slanted = noise @ torch.tensor([[1.0, 0.8], [0.0, 0.4]], dtype=torch.float64) - 2.0
    side = (torch.rand(n, 1, generator=generator, dtype=torch.float64) < 0.5).double()
    blobs = 0.5 * noise + torch.tensor([2.0, 3.0], dtype=torch.float64) * torch.cat([side, 2 * side - 1], 1)
    return torch.where(labels[:, None] == 1, blobs, slanted), labels


@functools.cache
def fitted(spec: str) -> Prior:
    """The prior ``spec`` fitted to 3,000 of the two classes."""
    return Prior.registry.resolve(spec).fit(two_classes(3000, 1), generator=torch.Generator().manual_seed(0))


def source_samples(
    coupling: Coupling, prior: Prior, seed: int, rounds: int = ROUNDS
) -> tuple[Tensor, Tensor, Tensor]:
    """(source samples of training, those of sampling, labels) of independent batches of 60 fresh data."""
    generator = torch.Generator().manual_seed(seed)
    x1, labels = two_classes(rounds * BATCH, seed + 1)
    drawn = [
        coupling.draw(prior, x, c, generator=generator)
        for x, c in zip(x1.split(BATCH), labels.split(BATCH), strict=True)
    ]
    return torch.cat(drawn), coupling.source(prior, labels, generator=generator), labels


def projected_p_value(drawn: Tensor, sampled: Tensor, labels: Tensor, directions: int = 8) -> float:
    """Kolmogorov-Smirnov tests per class on fixed directions; the smallest p, Bonferroni-corrected."""
    angles = torch.linspace(0, torch.pi, directions + 1, dtype=torch.float64)[:-1]
    axes = torch.stack([angles.cos(), angles.sin()])
    values = [
        ks_2samp((drawn[labels == label] @ axis).numpy(), (sampled[labels == label] @ axis).numpy()).pvalue
        for label in labels.unique()
        for axis in axes.T
    ]
    return min(1.0, min(values) * len(values))
