"""Bases that labels share: as good as own ones where the data have one, with the moments of the data."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowprior import Coupling, Prior
from flowprior.errors import OptionError
from flowprior.mixtures.moments import ConditionMoments
from flowprior.priors import shared_basis, subspace_prior
from flowprior.priors.frame import Subspace
from flowprior.priors.subspace_prior import default_span
from flowprior.streams.batches import CheckedBatches

DIM, RANK, LABELS, FLOOR = 12, 3, 4, 0.04
SCALES = torch.tensor([[1.0, 2.0, 0.5], [2.0, 0.5, 1.0], [0.5, 1.0, 2.0], [1.0, 1.0, 1.5]])


def turning(rows: int, bases: int = 1, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Labels with means, latent covariances and noise of their own in ``bases`` common subspaces."""
    fixed, generator = torch.Generator().manual_seed(9), torch.Generator().manual_seed(seed)
    loading = 2 * torch.randn(bases, DIM, RANK, generator=fixed)
    turns = torch.linalg.qr(torch.randn(LABELS, RANK, RANK, generator=fixed)).Q
    means, noise = 3 * torch.randn(LABELS, DIM, generator=fixed), torch.tensor([0.3, 0.5, 0.7, 0.5])
    labels = torch.arange(rows) % LABELS
    z = torch.randn(rows, RANK, generator=generator) * SCALES[labels]
    z = torch.einsum("nr,nrs->ns", z, turns[labels])
    x = torch.einsum("nr,ndr->nd", z, loading[labels % bases])
    return means[labels] + x + noise[labels, None] * torch.randn(rows, DIM, generator=generator), labels


def fitted(data: tuple[Tensor, Tensor], **options: object) -> Prior:
    settings = {"components": 1, "shrinkage": 0.0, "rank": RANK, "reg_covar": FLOOR, **options}
    return Prior.create("latent-gmm", **settings).fit(data, generator=torch.Generator().manual_seed(0))


def assert_same_covariances(first: Prior, second: Prior) -> None:
    """Of draws under each label, within 6 % in the Frobenius norm."""
    for label in range(LABELS):
        one = torch.full((20_000,), label)
        covariances = [prior.sample(one).T.cov() for prior in (first, second)]
        assert (covariances[0] - covariances[1]).norm() < 0.06 * covariances[0].norm()


@pytest.fixture(scope="module")
def data() -> tuple[Tensor, Tensor]:
    return turning(16_000)


def test_shared_and_own_bases_agree_on_data_that_have_one(data):
    held_out = turning(4000, seed=1)
    own, shared = fitted(data), fitted(data, basis="shared")
    assert shared.log_prob(*held_out).mean() > own.log_prob(*held_out).mean() - 0.1
    assert_same_covariances(own, shared)


def test_a_wider_basis_holds_subspaces_that_differ():
    """Labels of two subspaces of 3 directions have one basis of 6 in common, and 3 latents each."""
    two, held_out = turning(16_000, bases=2), turning(4000, bases=2, seed=1)
    own, wide = fitted(two), fitted(two, basis="shared", span=2 * RANK)
    assert wide.subspace.spread.shape == (LABELS + 1, RANK)
    assert wide.subspace.basis.shape == (2, DIM, 2 * RANK)
    assert wide.subspace.rotation.shape == (LABELS + 1, 2 * RANK, RANK)
    assert wide.log_prob(*held_out).mean() > own.log_prob(*held_out).mean() - 0.1
    assert_same_covariances(own, wide)


@pytest.mark.parametrize(
    ("bound", "is_shared"), [(LABELS * DIM * RANK, False), (LABELS * DIM * RANK - 1, True)]
)
def test_labels_share_a_basis_where_their_own_would_be_too_large(data, bound, is_shared, monkeypatch):
    monkeypatch.setattr(subspace_prior, "OWN_NUMBERS", bound)
    chosen, named = fitted(data), fitted(data, basis="shared" if is_shared else "own")
    assert chosen.subspace.is_shared is is_shared
    assert all(value.equal(named.state_dict()[name]) for name, value in chosen.state_dict().items())


def test_a_basis_is_not_shared_where_that_saves_nothing(monkeypatch):
    """A label's latents along a shared basis of all dimensions are as many numbers as a basis of its own."""
    monkeypatch.setattr(subspace_prior, "OWN_NUMBERS", 1)
    x, labels = turning(800)
    assert not fitted((x[:, :RANK], labels)).subspace.is_shared


def test_a_basis_has_as_many_dimensions_as_the_labels_can_afford():
    assert default_span(64, labels=10, dim=784) == 256
    assert default_span(64, labels=10, dim=300) == 150
    assert default_span(64, labels=100, dim=3072) == 64
    assert default_span(64, labels=10, dim=200) == 64
    assert default_span(256, labels=1000, dim=12_288) == 256
    assert default_span(8, labels=100_000, dim=64) == 8
    with pytest.raises(OptionError, match="span"):
        Prior.create("latent-gmm", rank=8, basis="shared", span=7)


@pytest.mark.parametrize("span", [RANK, 2 * RANK, 3 * RANK])
@pytest.mark.parametrize("basis", ["own", "shared"])
def test_pairs_have_the_moments_that_the_linear_velocity_assumes(data, basis, span):
    """Along each axis variance 1 of both and the slope between; outside, variance ψ and no covariance."""
    x, labels = data
    prior = fitted(data, basis=basis, span=span)
    x0 = Coupling.create("posterior").draw(prior, x, labels, generator=torch.Generator().manual_seed(0))
    for label in range(LABELS):
        of = labels == label
        frame = prior.spread(labels[of], int(of.sum()))
        h0, h1 = frame.coordinates(x0[of]), frame.coordinates(x[of])
        slope = (1 - 1 / frame.spread[0]) * h1.square().mean(0)
        torch.testing.assert_close(h1.T.cov(), torch.eye(RANK), rtol=0, atol=0.06)
        torch.testing.assert_close(h0.T.cov(), torch.eye(RANK), rtol=0, atol=0.1)
        torch.testing.assert_close((h0 * h1).mean(0), slope, rtol=0, atol=0.06)
        white = [(one[of] - frame.loc) * frame.noise.rsqrt() for one in (x0, x)]
        e0, e1 = (y - frame.axes.out_of(frame.axes.into(y)) for y in white)
        left = 1 - frame.axes.leverage[0]
        torch.testing.assert_close(e0.square().mean(0), left, rtol=0.1, atol=0.02)
        datum = left - FLOOR / frame.noise[0]  # what frame.data is, times left
        torch.testing.assert_close(e1.square().mean(0), datum, rtol=0.2, atol=0.04)
        assert (e0 * e1).mean(0).abs().max() < 0.06


def test_a_label_of_few_examples_has_nearly_the_pooled_covariance(data):
    x, labels = data
    few = (labels != 2) | (torch.arange(len(x)) < 4 * 2 + 3)
    prior = fitted((x[few], labels[few]), basis="shared")
    drawn = prior.sample(torch.full((4000,), 2)).T.cov()
    pooled = sum(x[labels == c].T.cov() for c in (0, 1, 3)) / 3
    assert 0.3 * pooled.trace() < drawn.trace() < 2 * pooled.trace()
    once = labels[:11].where(torch.arange(11) == 2, torch.arange(11) % 2)
    with pytest.warns(RuntimeWarning, match="label 2 has one example"):
        single = fitted((x[:11], once), basis="shared")
    assert single.sample(torch.tensor([2, 2])).isfinite().all()


def test_a_pixel_that_the_basis_holds_almost_whole_gets_no_more_noise_than_it_varies():
    """Leverage near 1 and next to no variance floor: the ratio of residuals alone could say anything."""
    x, labels = turning(8000)
    x = x.clone()
    x[:, 0] += 8 * torch.randn(8000, generator=torch.Generator().manual_seed(3))
    prior = fitted((x, labels), basis="shared", reg_covar=1e-6, rank=RANK + 1)
    variance = ConditionMoments.over([(x, labels)]).variance()
    assert prior.spread(torch.tensor([0]), 1).axes.leverage.max() > 0.98
    noise = prior.subspace.noise[:LABELS]
    least = 0.1 * noise.mean(1, keepdim=True)
    assert (noise <= torch.maximum(1.05 * variance, 1.05 * least)).all()
    for label in range(LABELS):
        drawn = prior.sample(torch.full((8000,), label)).var(0)
        torch.testing.assert_close(drawn, variance[label].float(), rtol=0.25, atol=0.1)


def test_the_mixture_of_many_large_latents_is_diagonal(data, monkeypatch):
    monkeypatch.setattr("flowprior.priors.latent_gmm.MOST_BYTES", 100)
    prior = fitted(data, basis="shared", components=2)
    assert prior.latents.covariance == "diag"
    other = Prior.create("latent-gmm", components=2, rank=RANK, reg_covar=FLOOR)
    other.load_state_dict(prior.state_dict())
    assert torch.equal(other.log_prob(*data), prior.log_prob(*data))


def test_latents_that_do_not_fit_into_memory_are_some_of_each_label(data, monkeypatch):
    monkeypatch.setattr("flowprior.priors.subspace_prior.KEPT_BYTES", 1000)
    prior = fitted(data, basis="shared")
    kept = prior._latents_of(CheckedBatches(data, "test"), 0)
    counts = torch.bincount(torch.cat([c for _, c in kept]))
    assert counts.tolist() == [200] * LABELS


def test_any_registered_prior_is_the_law_of_the_latents(data):
    prior = fitted(data, law="gaussian", basis="shared")
    assert prior.sample(data[1][:9]).shape == (9, DIM)
    assert prior.log_prob(*data).isfinite().all()


def test_labels_of_few_examples_share_the_mixture_of_their_latents(data):
    x, labels = data
    many = torch.arange(len(x)) // 8
    prior = fitted((x - x[labels == 0].mean(0), many), basis="shared", components=10)
    assert not prior.latents.seen.has_labels
    assert prior.latents.covariance == "full"
    assert prior.sample(many[:50]).isfinite().all()
    assert prior.log_prob(x[:50], many[:50]).isfinite().all()


@pytest.mark.parametrize(("of_each", "of_all", "looked_at"), [(2, 12, 4), (5, 12, 5), (200, 65_536, 20)])
def test_residuals_are_those_of_the_first_rows_of_each_label(of_each, of_all, looked_at, monkeypatch):
    """Mean squares about the label's mean, with 16 examples' worth of those of all labels."""
    monkeypatch.setattr(shared_basis, "ROWS_OF_NOISE", of_each)
    monkeypatch.setattr(shared_basis, "SAMPLE", of_all)
    generator = torch.Generator().manual_seed(1)
    x, labels = torch.randn(60, DIM, generator=generator), torch.arange(60) % 3
    loc, noise = torch.randn(3, DIM, generator=generator), 1 + torch.rand(3, DIM, generator=generator)
    batches = [(x[:7], labels[:7]), (x[7:], labels[7:])]
    found = shared_basis._residuals(
        CheckedBatches(batches, "test"),
        Subspace.of(x, loc=loc, noise=noise),
        lambda white, c: white - white.mean(1, keepdim=True),
    )
    white = (x - loc[labels]) / noise[labels].sqrt()
    squares = (white - white.mean(1, keepdim=True)).square() * noise[labels]
    means = torch.stack([squares[labels == c][:looked_at].mean(0) for c in range(3)])
    expected = (looked_at * means + 16 * means.mean(0)) / (looked_at + 16)
    torch.testing.assert_close(found.of(torch.arange(3)).float(), expected)
