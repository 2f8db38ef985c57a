"""The prior ``vae``: its bound lies under the density, its latents are informative, pictures pass through."""

from __future__ import annotations

import pytest
import torch

from flowprior.conditions import Condition
from flowprior.couplings import Coupling, transport_cost
from flowprior.errors import InputError
from flowprior.extensions.densities.network import VaeNetwork
from flowprior.priors import Prior

QUICK = {"latent": 2, "width": 8, "steps": 300, "lr": 1e-2, "importance": 64}


@pytest.fixture(scope="module")
def linear():
    """A prior of rows of a known low-rank Gaussian, the rows, and their law.

    One fit in five of so small a network leaves one of the two latents unused; this seed's does not.
    """
    generator = torch.Generator().manual_seed(0)
    factor = torch.randn(6, 2, generator=generator)
    x = torch.randn(3000, 2, generator=generator) @ factor.T + 0.3 * torch.randn(3000, 6, generator=generator)
    law = torch.distributions.MultivariateNormal(torch.zeros(6), factor @ factor.T + 0.09 * torch.eye(6))
    prior = Prior.create("vae", **{**QUICK, "steps": 600})
    return prior.fit(x, generator=torch.Generator().manual_seed(5)), x, law


def test_the_bound_comes_near_the_density_with_more_draws_and_stays_below(linear, monkeypatch):
    prior, x, law = linear
    density, bounds = law.log_prob(x[:1000]).mean(), []
    for draws in (1, 64, 512):
        monkeypatch.setattr(prior, "importance", draws)
        bounds.append(prior.log_prob(x[:1000]).mean())
    assert density - 0.2 < bounds[1] < density
    assert abs(bounds[1] - bounds[2]) < 0.2 * abs(bounds[0] - bounds[2])


def test_inferred_starts_lie_near_their_data(linear):
    prior, x, _ = linear
    generator = torch.Generator().manual_seed(0)
    inferred = Coupling.create("posterior").draw(prior, x, None, generator=generator)
    drawn = prior.sample(n=len(x), generator=generator)
    assert transport_cost(inferred, x) < 0.4 * transport_cost(drawn, x)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 14)])
def test_pictures_of_any_size_pass_the_convolutions(shape, generator):
    network = VaeNetwork(torch.Size(shape), Condition("labels", 3), latent=2, width=4)
    assert network.is_picture
    x, labels = torch.randn(5, *shape, generator=generator).flatten(1), torch.arange(5) % 3
    mean, log_variance = network.encode(x, labels)
    assert mean.shape == log_variance.shape == (5, 2)
    assert network.decode(mean, labels).shape == x.shape


def test_a_prior_of_pictures_by_label(generator):
    labels = torch.arange(120) % 3
    x = torch.randn(120, 1, 8, 8, generator=generator) * 0.1 + labels[:, None, None, None]
    prior = Prior.create("vae", **{**QUICK, "steps": 20}).fit((x, labels))
    assert prior.sample(labels[:6]).shape == (6, 1, 8, 8)
    torch.testing.assert_close(prior.mean(torch.tensor([2]))[0], x[labels == 2].mean(0), rtol=0, atol=0.1)
    with pytest.raises(InputError, match=r"vae.sample: cond has label 3, expected labels 0..2"):
        prior.sample(torch.tensor([3]))
