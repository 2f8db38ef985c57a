"""The mixture over latents, low-rank or as many as dimensions: density, draws, inferred samples, refusals."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from flowprior import Prior
from flowprior.couplings import Coupling, source_mismatch
from flowprior.errors import InputError, NotFittedError, OptionError
from flowprior.mixtures.covariance import FitSettings
from flowprior.mixtures.moments import ConditionMoments
from flowprior.priors import GaussianPrior, GmmPrior
from flowprior.priors.frame import Subspace
from flowprior.priors.subspace import LEAST_FLOOR
from flowprior.priors.subspace_prior import fit_own
from flowprior.streams.batches import CheckedBatches

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


@pytest.mark.parametrize(
    ("rows", "rank", "options"),
    [
        ([5, 2], 1, {}),
        ([4, 0, 4], 2, {}),
        ([100, 130], 8, {}),
        ([100, 130], 4, {"basis": "shared", "span": 4}),
        ([256], 16, {}),
        ([5000, 3200], 64, {}),
    ],
)
def test_more_examples_of_a_label_give_more_latents(rows, rank, options):
    labels = torch.arange(len(rows)).repeat_interleave(torch.tensor(rows)) if len(rows) > 1 else None
    prior = Prior.create("latent-gmm", distribution="gaussian", **options)
    assert prior.fit((torch.randn(sum(rows), 80), labels)).subspace.rank == rank


def test_refusals(two_clusters):
    x, _ = two_clusters
    with pytest.raises(InputError, match="embeddings need the prior 'learned-mean'"):
        fitted((x, torch.randn(len(x), 3)))
    with pytest.raises(OptionError, match="components=0 is not possible; expected a whole number, 1 or more"):
        Prior.create("latent-gmm", components=0)
    with pytest.raises(InputError, match=r"label 7, expected labels 0\.\.1"):
        fitted(two_clusters).sample(torch.tensor([7]))


# -- as many latents as dimensions ----------------------------------------------------------------


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


# -- which priors have latents --------------------------------------------------------------------


class Moved(GaussianPrior):
    """A plug-in that infers x0 = x1 + 1."""

    has_latents = True

    def _infer(self, x1, cond, generator):
        return x1 + 1


def test_components_and_a_factor_are_latents():
    for prior in (GaussianPrior(), GmmPrior(), GmmPrior(covariance="full")):
        assert not prior.has_latents
    for mixture in (GmmPrior(covariance="lowrank"), GmmPrior(components=2)):
        assert mixture.has_latents
        assert (mixture.has_spread, mixture.spread(None, 1)) == (False, None)


def test_a_plug_in_infers_after_its_arguments_are_checked():
    x1 = torch.zeros(3, 2)
    latents = Moved().fit(x1)
    assert torch.equal(Coupling.create("posterior").draw(latents, x1, None), x1 + 1)
    with pytest.raises(NotFittedError, match=r"infer: the prior is not fitted"):
        Coupling.create("posterior").draw(Moved(), x1, None)
    with pytest.raises(InputError, match="expected finite x,"):
        latents.infer(x1 + torch.nan)
