"""The average of mixtures, alone and over latents: density, draws, the size that a fit chooses, no copies."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from flowprior import Prior
from flowprior.errors import InputError, OptionError
from flowprior.mixtures.averaging import nearer_share
from flowprior.priors import averaged_gmm, latent_gmm
from flowprior.priors.averaged_gmm import unpacked


def rings(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two labels, each a noisy circle of another centre."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    angle = 6.2832 * torch.rand(count, generator=generator, dtype=torch.float64)
    x = torch.stack([angle.cos(), angle.sin()], 1)
    x = x + 0.1 * torch.randn(count, 2, generator=generator, dtype=torch.float64)
    return x + 3.0 * labels[:, None], labels


def fitted(data: tuple[Tensor, Tensor | None], **options: float) -> Prior:
    return Prior.create("averaged-gmm", **options).fit(data, generator=torch.Generator().manual_seed(0))


def test_density_is_that_of_the_components_one_by_one():
    prior = fitted(rings(600), rows_each=60)
    x, labels = rings(40, seed=1)
    weight = prior.logits.exp()
    torch.testing.assert_close(weight.sum(1), torch.ones(2).double())
    expected = []
    for row, label in zip(x, labels.tolist(), strict=True):
        laws = [
            MultivariateNormal(m, scale_tril=s)
            for m, s in zip(prior.loc[label], unpacked(prior.factors[label]), strict=True)
        ]
        expected.append(
            sum(w * law.log_prob(row).exp() for w, law in zip(weight[label], laws, strict=True)).log()
        )
    torch.testing.assert_close(prior.log_prob(x, labels), torch.stack(expected))


def test_density_of_many_labels_in_one_batch_is_that_of_each_label(generator):
    x = torch.randn(600, 3, generator=generator, dtype=torch.float64)
    labels = torch.arange(600) % 60
    prior = fitted((x, labels), rows_each=5)
    together = prior.log_prob(x, labels)
    for label in (0, 17, 59):
        own = labels == label
        torch.testing.assert_close(prior.log_prob(x[own], labels[own]), together[own])
    few = prior.log_prob(x[:60], labels[:60])
    torch.testing.assert_close(few, together[:60])


@pytest.mark.parametrize(
    ("bounds", "components"),
    [({}, 20), ({"ROWS": 50}, 2), ({"BUDGET": 2 * 2 * 50}, 2), ({"BUDGET": 0}, 1)],
)
def test_the_largest_size_is_that_of_two_mixtures_of_25_rows_a_component(bounds, components, monkeypatch):
    """Of at most so many rows; a budget of numbers in them may leave less, but four rows of each label."""
    for name, value in bounds.items():
        monkeypatch.setattr(averaged_gmm, name, value)
    x, _ = rings(510)
    prior = fitted((x, (torch.arange(510) < 10).long()), rows_each=25)
    kept = (prior.logits > -torch.inf).sum(1).tolist()
    assert kept == [2 * components if components > 1 else 1, 1], "mixtures of one component are the same"
    if "BUDGET" not in bounds:
        assert prior.size_of([500.0, 10.0], dim=2) == 2 * 3 * (components + 1)


@pytest.mark.parametrize("seed", range(4))
def test_a_ring_of_few_points_is_followed_whatever_the_seed(seed: int):
    """Two Gaussians are by chance worse than one on one half of 105 points; sixteen are much better."""
    x, labels = rings(420, seed=50)
    prior = Prior.create("averaged-gmm").fit((x, labels), generator=torch.Generator().manual_seed(seed))
    assert (prior.logits > -torch.inf).sum(1).min() >= 2 * 4
    assert prior.log_prob(*rings(400, seed=60)).mean() > -1.3, "one Gaussian has -2.2"


def test_of_many_dimensions_the_first_number_that_is_surely_worse_is_the_last_tried(monkeypatch, generator):
    tried = []
    measure = averaged_gmm.AveragedGmmPrior._measure

    def counted(self, halved, rows_each, generator):
        tried.append(rows_each)
        return measure(self, halved, rows_each, generator)

    monkeypatch.setattr(averaged_gmm.AveragedGmmPrior, "_measure", counted)
    x = torch.randn(400, averaged_gmm.POINTS + 1, generator=generator)
    for dim in (x.shape[1], 2):
        tried.clear()
        fitted((x[:, :dim], None))
        assert len(tried) == (2 if dim > averaged_gmm.POINTS else 6)


@pytest.mark.parametrize(
    ("rows", "dim", "halvings"), [(100, 2, 8), (300, 16, 6), (1024, 2, 2), (3000, 2, 1), (100, 17, 1)]
)
def test_few_points_are_halved_several_times(rows, dim, halvings, generator):
    """Up to eight times, until 2,048 points were looked at; of more than 16 dimensions once."""
    x = torch.arange(rows * dim).view(rows, dim)
    first, *others = averaged_gmm._orders(x, generator)
    assert first is x
    assert len(others) == halvings - 1
    assert not any(torch.equal(order, x) for order in others)
    assert all(torch.equal(order[order[:, 0].argsort()], x) for order in others)


def test_the_chosen_law_is_no_copy_where_one_component_an_example_is(generator):
    x, _ = rings(600)
    own, other = x[::2][:150], x[::2][150:]
    copying = Prior.create("gmm", components=150, reg_covar=1e-6, max_iter=1)
    shares = []
    for prior in (fitted((own, None)), copying.fit(own, generator=generator)):
        drawn = prior.sample(n=2000, generator=generator)
        shares.append(nearer_share(drawn, own, other))
    assert shares[0] < 0.6
    assert shares[1] > 0.9


def test_a_number_of_components_that_copies_is_refused(monkeypatch):
    x, _ = rings(2000)
    many = fitted((x[::2], None)).logits.shape[1]
    monkeypatch.setattr(averaged_gmm, "MOST_COPIES", 0.0)
    assert fitted((x[::2], None)).logits.shape[1] == 1 < many


def test_fitting_blurred_gives_the_law_of_rows_that_get_noise_afterwards(generator):
    x, labels = rings(4000)
    slope = torch.tensor([[0.9, 0.6], [0.5, 1.0]])
    variance = torch.tensor([[0.1, 0.5], [0.3, 0.0]])
    prior = Prior.create("averaged-gmm", rows_each=100)
    prior.fit_blurred((x, labels), slope, variance, generator=torch.Generator().manual_seed(0))
    plain = fitted((x, labels), rows_each=100)
    n = 20_000
    for label in (0, 1):
        cond = torch.full((n,), label)
        drawn = slope[label] * plain.sample(cond, generator=generator)
        drawn = drawn + variance[label].sqrt() * torch.randn(n, 2, generator=generator)
        blurred = prior.sample(cond, generator=generator)
        torch.testing.assert_close(blurred.mean(0), drawn.mean(0), rtol=0, atol=0.03)
        torch.testing.assert_close(blurred.T.cov(), drawn.T.cov(), rtol=0.05, atol=0.01)
        assert prior.log_prob(drawn, cond).mean() > plain.log_prob(drawn, cond).mean()
    assert torch.equal(plain.loc, fitted((x, labels), rows_each=100).loc), "a fit afterwards is not blurred"


def test_labels_with_one_example_and_labels_without(generator):
    x, labels = rings(100)
    x, labels = torch.cat([x, x[:1] + 5]), torch.cat([labels, torch.tensor([3])])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        prior = fitted((x, labels))
    drawn = prior.sample(torch.full((500,), 3), generator=generator)
    assert drawn.std(0).min() > 0.2, "no copies of the only example"
    with pytest.raises(InputError, match="label 2, which had no example"):
        prior.sample(torch.tensor([2]))


def test_equal_rows_have_the_variance_floor(generator):
    prior = fitted((torch.ones(50, 2), None), reg_covar=0.04)
    torch.testing.assert_close(
        prior.sample(n=5000, generator=generator).std(0), torch.full((2,), 0.2), rtol=0.05, atol=0
    )
    with pytest.raises(InputError, match="no spread in some dimension and reg_covar=0"):
        fitted((torch.ones(50, 2), None), reg_covar=0)


@pytest.mark.parametrize("options", [{"members": 0}, {"rows_each": 0}, {"shrinkage": -1.0}])
def test_refusals(options):
    with pytest.raises(InputError, match="expected labels as integers"):
        fitted((rings(10)[0], torch.randn(10, 3)))
    with pytest.raises(OptionError, match=next(iter(options))):
        Prior.create("averaged-gmm", **options)


@pytest.mark.parametrize("seed", [0, 4, 6])
def test_plain_data_get_one_gaussian(seed: int) -> None:
    """With halvings of its own for each number of components these sets got six to twelve."""
    x = torch.randn(210, 2, generator=torch.Generator().manual_seed(100 + seed))
    prior = Prior.create("averaged-gmm").fit((x, None), generator=torch.Generator().manual_seed(seed))
    assert int((prior.logits > -torch.inf).sum()) == 1


def test_draws_in_blocks_are_those_of_one_block(monkeypatch):
    prior = fitted(rings(400))
    cond = torch.arange(50) % 2
    whole = prior.sample(cond, generator=torch.Generator().manual_seed(1))
    monkeypatch.setattr(averaged_gmm, "PIECE", 12)
    assert torch.equal(prior.sample(cond, generator=torch.Generator().manual_seed(1)), whole)


# -- as the distribution of the latents of latent-gmm ---------------------------------------------


DIM, RANK = 8, 3


def latent_rings(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Two labels; the three leading coordinates of each hold a ring and its height, no Gaussian."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    angle = 6.2832 * torch.rand(count, generator=generator)
    z = torch.stack([angle.cos(), angle.sin(), (2 * angle).sin()], 1)
    loading = torch.linalg.qr(torch.randn(2, DIM, DIM, generator=torch.Generator().manual_seed(9))).Q[
        :, :, :RANK
    ]
    x = torch.einsum("nr,ndr->nd", 3 * z, loading[labels]) + labels[:, None]
    return x + 0.4 * torch.randn(count, DIM, generator=generator), labels


@pytest.fixture(scope="module")
def data() -> tuple[Tensor, Tensor]:
    return latent_rings(3000, 0)


def fitted_latents(data: tuple[Tensor, Tensor], law: str) -> Prior:
    prior = Prior.create("latent-gmm", rank=RANK, reg_covar=1e-3, law=law)
    return prior.fit(data, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def averaged(data) -> Prior:
    return fitted_latents(data, "averaged-gmm")


def test_drawn_latents_have_mean_zero_and_covariance_one(averaged, generator):
    """What ``posterior`` and ``residual`` rely on."""
    for label in (0, 1):
        h = averaged.latents.sample(torch.full((20_000,), label), generator=generator)
        torch.testing.assert_close(h.mean(0), torch.zeros(RANK), rtol=0, atol=0.08)
        torch.testing.assert_close(h.T.cov(), torch.eye(RANK), rtol=0, atol=0.12)


@pytest.mark.parametrize(
    ("options", "law"),
    [
        ({}, "averaged-gmm"),
        ({"components": 10}, "gmm"),
        ({"law": "mixture"}, "gmm"),
        ({"basis": "shared"}, "averaged-gmm"),
    ],
)
def test_the_law_that_the_fit_chooses_travels_with_the_state(data, options, law):
    def prior() -> Prior:
        return Prior.create("latent-gmm", rank=RANK, reg_covar=1e-3, **options)

    fitted_latents = prior().fit(data, generator=torch.Generator().manual_seed(0))
    assert fitted_latents.latents.name == law
    other = prior()
    other.load_state_dict(fitted_latents.state_dict())
    x, labels = data[0][:50], data[1][:50]
    assert torch.equal(other.log_prob(x, labels), fitted_latents.log_prob(x, labels))


@pytest.mark.parametrize(
    ("options", "bound", "most", "within", "beyond"),
    [
        ({}, "AVERAGED_LABELS", 2, ("averaged-gmm", None), ("gmm", "full")),
        ({}, "MOST_BYTES", 4 * 2 * (2 * 6 * 4), ("averaged-gmm", None), ("gmm", "diag")),
        ({"components": 10}, "MOST_BYTES", 4 * 2 * (10 * 9), ("gmm", "full"), ("gmm", "diag")),
        ({"law": "mixture"}, "MOST_BYTES", 4 * 2 * (10 * 9), ("gmm", "full"), ("gmm", "diag")),
    ],
)
def test_the_law_becomes_a_plainer_one_where_labels_are_many_or_numbers_are(
    options, bound, most, within, beyond, monkeypatch
):
    """Of 100 rows a label, at most four components of six numbers in two mixtures; ten of nine numbers.

    Also of a prior that was fitted_latents with the other law before.
    """
    prior = Prior.create("latent-gmm", rank=RANK, reg_covar=1e-3, **options)
    for bound_there, law in ((most, within), (most - 1, beyond)):
        monkeypatch.setattr(latent_gmm, bound, bound_there)
        latents = prior.fit(latent_rings(200, 0), generator=torch.Generator().manual_seed(0)).latents
        assert (latents.name, getattr(latents, "covariance", None)) == law
