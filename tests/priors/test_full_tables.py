"""Where latents are as many as dimensions they hold the whole covariance, and laws that are no Gaussian's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowprior.errors import InputError
from flowprior.mixtures.covariance import FitSettings
from flowprior.mixtures.moments import ConditionMoments
from flowprior.priors import Prior
from flowprior.priors.frame import Subspace
from flowprior.priors.subspace import LEAST_FLOOR
from flowprior.priors.subspace_prior import fit_own
from flowprior.streams.batches import CheckedBatches

FLOOR = 0.04


def correlated(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two labels in three dimensions, each with a covariance of its own."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(2, 3, 3, generator=generator, dtype=torch.float64)
    labels = torch.arange(count) % 2
    z = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    return torch.einsum("bi,bij->bj", z, mix[labels]) + labels[:, None], labels


def ring(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """One label on a ring of radius 1, the other of radius 2, whose coordinates are uncorrelated."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    angle = 2 * torch.pi * torch.rand(count, generator=generator)
    radius = 1 + labels + 0.05 * torch.randn(count, generator=generator)
    return radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1), labels


def subspace_of(data: tuple[Tensor, Tensor], floor: float = FLOOR, shrinkage: float = 0.0) -> Subspace:
    settings = FitSettings(floor, shrinkage, torch.Generator().manual_seed(0))
    batches = CheckedBatches(data, "test")
    return fit_own(batches, 8, settings, ConditionMoments.over(batches.labelled()))


def covariance_in(subspace: Subspace, row: int) -> Tensor:
    basis, noise = subspace.basis[row], subspace.noise[row]
    excess = basis * (subspace.spread[row] - 1)
    return noise.sqrt()[:, None] * (torch.eye(len(noise)).to(noise) + excess @ basis.T) * noise.sqrt()


def test_the_gaussians_are_the_datas_own_and_the_floor():
    x, labels = correlated(400)
    subspace = subspace_of((x, labels))
    parts = [x[labels == 0], x[labels == 1], x]
    for row, part in enumerate(parts):
        expected = part.T.cov(correction=0) + FLOOR * torch.eye(3).double()
        torch.testing.assert_close(covariance_in(subspace, row), expected)
        torch.testing.assert_close(subspace.loc[row], part.mean(0))


def test_shrinkage_is_examples_of_all_rows_beside_the_labels_own():
    x, labels = correlated(400)
    subspace = subspace_of((x, labels), shrinkage=400.0)
    both = torch.cat([x[labels == 0]] * 2 + [x] * 2)  # 400 of its own, and 800 of all: weights 1 and 2
    torch.testing.assert_close(subspace.loc[0], both.mean(0), rtol=0, atol=1e-9)
    expected = both.T.cov(correction=0) + FLOOR * torch.eye(3).double()
    torch.testing.assert_close(covariance_in(subspace, 0), expected)


def test_there_is_always_some_noise_for_the_flow_to_take_away():
    subspace = subspace_of(correlated(400), floor=1e-9)
    x, labels = correlated(400)
    variance = x[labels == 1].var(0, correction=0).mean()
    torch.testing.assert_close(subspace.noise[1], torch.full((3,), LEAST_FLOOR).double() * variance)


def test_a_dimension_without_spread_wants_a_floor():
    x, labels = correlated(400)
    x[:, 1] = 0.5
    with pytest.raises(InputError, match="set reg_covar > 0"):
        subspace_of((x, labels), floor=0.0)
    assert subspace_of((x, labels)).spread.isfinite().all()


def test_a_ring_comes_out_as_a_ring(generator):
    """A Gaussian has |x| of standard deviation 0.46 and 0.93 there."""
    prior = Prior.create("latent-gmm", reg_covar=0.001).fit(ring(4000, 0), generator=generator)
    for label in (0, 1):
        drawn = prior.sample(torch.full((4000,), label), generator=generator)
        assert drawn.norm(dim=1).mean() == pytest.approx(1 + label, rel=0.1)
        assert drawn.norm(dim=1).std() < 0.2 * (1 + label)
    x, labels = ring(2000, 1)
    gaussian = Prior.create("gmm").fit(ring(4000, 0))
    gain = prior.log_prob(x, labels).mean() - gaussian.log_prob(x, labels).mean()
    assert gain > 0.5, "nats of held-out log-density"
