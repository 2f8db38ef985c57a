"""The mixture over low-rank latents: density, law of its draws and of inferred samples, state, refusals."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from flowprior import Prior
from flowprior.couplings import source_mismatch
from flowprior.errors import InputError, OptionError

DIM, RANK = 6, 2


@pytest.fixture
def two_clusters() -> tuple[Tensor, Tensor]:
    """4,000 rows of two classes; in each, the leading plane holds two clusters: no Gaussian."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(4000) % 2
    side = torch.randint(2, (4000,), generator=generator) * 2.0 - 1
    z = torch.randn(4000, RANK, generator=generator) * 0.3
    z[:, 0] += side
    loading = 3 * torch.linalg.qr(torch.randn(2, DIM, DIM, generator=generator)).Q[:, :, :RANK]
    noise = 0.3 * torch.randn(4000, DIM, generator=generator)
    x = torch.einsum("nr,ndr->nd", z, loading[labels]) + noise + labels[:, None] * 5.0
    return x.double(), labels


def fitted(data: tuple[Tensor, Tensor], **options: float) -> Prior:
    settings = {"components": 2, "rank": RANK, "reg_covar": 1e-3, **options}
    return Prior.create("latent-gmm", **settings).fit(data, generator=torch.Generator().manual_seed(0))


def test_density_is_that_of_a_mixture_with_common_loadings(two_clusters):
    prior = fitted(two_clusters)
    x, labels = two_clusters[0][:20], two_clusters[1][:20]
    subspace, latents = prior.subspace, prior.latents
    expected = []
    for row, label in zip(x, labels.tolist(), strict=True):
        white = subspace.noise[label].sqrt()
        loading = white[:, None] * subspace.basis[label] * subspace.spread[label].sqrt()
        outside = torch.eye(DIM).double() - subspace.basis[label] @ subspace.basis[label].T
        total = 0.0
        for k in range(2):
            factor = latents.get_buffer("cholesky")[label, k]
            covariance = loading @ factor @ factor.T @ loading.T + white[:, None] * outside * white
            mean = subspace.loc[label] + loading @ latents.loc[label, k]
            weight = float(latents.logits[label, k].exp())
            total += weight * stats.multivariate_normal(mean.numpy(), covariance.numpy()).pdf(row.numpy())
        expected.append(math.log(total))
    torch.testing.assert_close(
        prior.log_prob(x, labels), torch.tensor(expected, dtype=torch.float64), rtol=1e-8, atol=1e-8
    )


def test_draws_have_the_moments_of_the_data(two_clusters, generator):
    x, labels = two_clusters
    prior = fitted(two_clusters, shrinkage=0.0)
    for label in (0, 1):
        real = x[labels == label]
        drawn = prior.sample(torch.full((20_000,), label), generator=generator)
        torch.testing.assert_close(drawn.mean(0), real.mean(0), rtol=0, atol=0.1)
        torch.testing.assert_close(drawn.T.cov(), real.T.cov(), rtol=0.05, atol=0.15)
        torch.testing.assert_close(prior.mean(torch.tensor([label]))[0], real.mean(0), rtol=0, atol=0.05)


def test_inferred_and_drawn_starts_agree_where_one_gaussian_does_not(two_clusters, generator):
    from flowprior import Coupling

    x, labels = two_clusters
    coupling = Coupling.create("posterior")
    gaps = [
        source_mismatch(
            coupling, fitted(two_clusters, components=k), x[:1000], labels[:1000], generator=generator
        )
        for k in (1, 2)
    ]
    assert gaps[0].p_value < 0.01
    assert gaps[1].coefficient < 0.3 * gaps[0].coefficient


def test_without_labels_and_with_few_examples(two_clusters, generator):
    x, _ = two_clusters
    assert fitted((x, None)).sample(n=5, generator=generator).shape == (5, DIM)
    few = fitted((x[:6], torch.arange(6) % 2), components=10)
    assert few.sample(torch.tensor([0, 1]), generator=generator).isfinite().all()


def test_refusals(two_clusters):
    x, _ = two_clusters
    with pytest.raises(InputError, match="embeddings need the prior 'learned-mean'"):
        fitted((x, torch.randn(len(x), 3)))
    with pytest.raises(OptionError, match="components=0 is not possible; expected a whole number, 1 or more"):
        Prior.create("latent-gmm", components=0)
    with pytest.raises(InputError, match=r"label 7, expected labels 0\.\.1"):
        fitted(two_clusters).sample(torch.tensor([7]))
