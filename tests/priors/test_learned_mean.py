"""The learned-mean prior: P(c) approaches E[x1 | c]; its spread is fixed, or estimated on held-out rows."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from flowprior.conditions import Condition
from flowprior.errors import InputError, OptionError
from flowprior.priors import Prior
from flowprior.priors.holdout import Holdout
from flowprior.priors.learned_mean import LearnedMeanPrior
from flowprior.priors.network_training import Mapper, MapperTraining, held_out_error, train_mapper
from flowprior.streams.batches import CheckedBatches
from tests.expected_warnings import UNCONVERGED

pytestmark = UNCONVERGED

SPREAD = torch.tensor([0.3, 0.6, 1.2])


def embedded(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """x1 = A e + b + noise of three different scales, embeddings e ``[N, 2]``, and the true means."""
    e = torch.randn(count, 2, generator=generator)
    mean = e @ torch.tensor([[1.0, -2.0, 0.5], [0.5, 1.0, -1.0]]) + torch.tensor([4.0, 0.0, -3.0])
    return mean + SPREAD * torch.randn(count, 3, generator=generator), e, mean


def labelled(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """x1 around five class means, with the same noise."""
    labels = torch.randint(5, (count,), generator=generator)
    mean = (3 * torch.randn(5, 3, generator=generator))[labels]
    return mean + SPREAD * torch.randn(count, 3, generator=generator), labels, mean


def fitted(x: Tensor, cond: Tensor, **options) -> LearnedMeanPrior:
    """A small mapper, trained for long enough."""
    small = {"hidden": 32, "depth": 1, "epochs": 30, "batch_size": 64, "lr": 3e-3}
    prior = Prior.create("learned-mean", **{**small, **options})
    return prior.fit((x, cond), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def by_embedding() -> tuple[LearnedMeanPrior, Tensor, Tensor, Tensor]:
    x, e, mean = embedded(2000, torch.Generator().manual_seed(1))
    return fitted(x, e, sigma="diagonal", epochs=20, far="as-near"), x, e, mean


@pytest.fixture(scope="module")
def by_label() -> tuple[LearnedMeanPrior, Tensor, Tensor, Tensor]:
    x, labels, mean = labelled(1500, torch.Generator().manual_seed(1))
    return fitted(x, labels), x, labels, mean


# -- the mean ---------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [embedded, labelled])
def test_the_mapper_approaches_the_conditional_mean(make, by_embedding, by_label):
    """The optimum of the squared error is E[x1 | c]; the noise is not learned."""
    prior, _, cond, mean = by_embedding if make is embedded else by_label
    error = (prior.mean(cond) - mean).square().mean()
    assert error < 0.05 * SPREAD.square().mean()
    assert error < 0.01 * mean.var(0).mean()


# -- the spread -------------------------------------------------------------------------------


def test_diagonal_spread_is_that_of_the_held_out_residuals(by_embedding):
    """200 rows are held out: a variance is known to 10 %, its root to 5 %."""
    prior, x, e, _ = by_embedding
    torch.testing.assert_close(prior.residuals.noise.sqrt(), SPREAD, rtol=0.2, atol=0.0)
    held_out = list(Holdout(CheckedBatches((x, e), "learned-mean"), 0.1).rows(held_out=True))
    residual = torch.cat([rows - prior.mean(c) for rows, c in held_out])
    assert len(residual) == 200
    torch.testing.assert_close(prior.residuals.noise, residual.square().mean(0) + 1e-6, rtol=1e-4, atol=0.0)


@pytest.mark.parametrize("sigma", [0.7, 2])
def test_fixed_spread_is_what_was_asked_for(sigma, generator):
    x, labels, _ = labelled(100, generator)
    prior = fitted(x, labels, sigma=sigma, epochs=1)
    torch.testing.assert_close(prior.residuals.noise, torch.full((3,), float(sigma) ** 2))
    assert prior.residuals.factor.shape == (3, 0)
    assert not prior.has_latents


def test_latents_recover_the_covariance_of_the_residuals(generator):
    """x1 = m(c) + W z + σ ε with two factors in eight dimensions."""
    factor = torch.randn(8, 2, generator=generator)
    labels = torch.randint(3, (4000,), generator=generator)
    mean = (4 * torch.randn(3, 8, generator=generator))[labels]
    x = mean + torch.randn(4000, 2, generator=generator) @ factor.T
    x = x + 0.5 * torch.randn(4000, 8, generator=generator)
    for sigma in (0.5, "scalar", "diagonal"):
        prior = fitted(x, labels, sigma=sigma, latent=2, epochs=20, batch_size=256, lr=3e-3)
        assert prior.has_latents
        covariance = prior.residuals.factor @ prior.residuals.factor.T + prior.residuals.noise.diag()
        truth = factor @ factor.T + 0.25 * torch.eye(8)
        scale = truth.diagonal().sqrt()
        assert ((covariance - truth).abs() / scale.outer(scale)).max() < 0.12, sigma
        torch.testing.assert_close(prior.residuals.noise.sqrt(), torch.full((8,), 0.5), rtol=0.15, atol=0.0)
        assert (prior.residuals.noise.unique().numel() == 1) == (sigma != "diagonal")


# -- the law ----------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[0, 2])
def small(request) -> tuple[LearnedMeanPrior, Tensor, Tensor]:
    """A prior in float64 without and with latents."""
    x, labels, _ = labelled(300, torch.Generator().manual_seed(4))
    x = x.double() @ torch.tensor([[1.0, 0.5, 0], [0, 1, 0.7], [0, 0, 1]]).double()
    return fitted(x, labels, latent=request.param, sigma="scalar", epochs=3), x, labels


def covariance_of(prior: LearnedMeanPrior) -> Tensor:
    return prior.residuals.factor @ prior.residuals.factor.T + prior.residuals.noise.diag()


def test_density_is_the_normal_around_the_mean(small):
    prior, x, labels = small
    law = MultivariateNormal(prior.mean(labels), covariance_of(prior))
    log_prob = prior.log_prob(x, labels)
    torch.testing.assert_close(log_prob, law.log_prob(x), rtol=1e-10, atol=1e-10)
    assert not log_prob.requires_grad, "a fitted prior is a constant"


@pytest.mark.parametrize("keep", [False, True])
def test_marginal_density_over_embeddings_is_that_over_what_it_keeps_of_them(keep, generator):
    x, e, _ = embedded(150, generator)
    prior = fitted(x.double(), e.double(), epochs=2, keep_conditions=keep, far="as-near")
    assert len(prior.seen.rows) == 150 if keep else 8 <= len(prior.seen.rows) <= 18
    around = prior.seen.draw(1024, torch.Generator().manual_seed(0))
    rows = prior.seen.rows if keep else around[:256]
    joint = [prior.log_prob(x.double(), row.expand(150, -1)) for row in rows]
    expected = torch.stack(joint, 1).logsumexp(1) - torch.tensor(len(rows)).double().log()
    torch.testing.assert_close(prior.log_prob_marginal(x.double()), expected, rtol=1e-6, atol=1e-6)


def test_marginal_draws_labels_as_often_as_the_data_had_them(generator):
    labels = torch.tensor([0] * 50 + [2] * 150)
    x = labels[:, None] * 100.0 + torch.randn(200, 1, generator=generator)
    prior = fitted(x, labels, sigma=0.1, epochs=60, lr=1e-2)
    n = 4000
    near_second = prior.sample_marginal(n, generator=generator) > 150
    assert near_second.double().mean() == pytest.approx(0.75, abs=5 * (0.75 * 0.25 / n) ** 0.5)


def test_inferred_starts_follow_the_latents_of_the_datum(generator):
    factor = torch.tensor([[3.0], [3.0], [0.0]])
    labels = torch.randint(2, (3000,), generator=generator)
    x1 = 5.0 * labels[:, None] + torch.randn(3000, 1, generator=generator) @ factor.T
    x1 = x1 + 0.5 * torch.randn(3000, 3, generator=generator)
    prior = fitted(x1, labels, latent=1, sigma="scalar", epochs=10)
    x0 = prior.infer(x1, labels, generator=generator)
    a, b = x0 - prior.mean(labels), x1 - prior.mean(labels)
    correlation = torch.corrcoef(torch.stack([a[:, 0], b[:, 0]]))[0, 1]
    assert correlation > 0.9
    scale = covariance_of(prior).diagonal()
    assert ((a.var(0) / scale - 1).abs() < 0.15).all(), "on average they are the prior's own"
    with pytest.raises(InputError, match="no latent variables"):
        fitted(x1, labels, epochs=1).infer(x1, labels)


# -- state, reproducibility, errors -------------------------------------------------------------


def test_fit_works_where_gradients_are_switched_off(generator):
    x, labels, mean = labelled(500, generator)
    with torch.no_grad():
        prior = fitted(x, labels)
    assert (prior.mean(labels) - mean).square().mean() < 0.2


def test_labels_outside_or_between_those_it_saw_are_refused(generator):
    x, labels, _ = labelled(100, generator)
    prior = fitted(x, labels * 2, epochs=1)
    with pytest.raises(InputError, match=r"learned-mean\.sample: cond has label 9, expected labels 0\.\.8"):
        prior.sample(torch.tensor([9]))
    with pytest.raises(InputError, match=r"cond has label 3, which had no example when the prior was fitted"):
        prior.mean(torch.tensor([0, 3]))
    assert prior.sample(torch.tensor([2, 4], dtype=torch.int32)).shape == (2, 3)


@pytest.mark.parametrize(
    ("cond", "message"),
    [
        (None, r"expected floating-point embeddings \[B, 2\], got None"),
        (torch.zeros(3, dtype=torch.long), r"got torch.int64 \[3\]"),
        (torch.zeros(3, 4), r"got torch.float32 \[3, 4\]"),
        (torch.zeros(3), r"got torch.float32 \[3\]"),
    ],
)
def test_conditions_of_another_kind_are_refused(cond, message, by_embedding):
    with pytest.raises(InputError, match=message):
        by_embedding[0].sample(cond, None if cond is not None else 3)


@pytest.mark.parametrize(
    ("cond", "message"),
    [
        (None, r"expected labels or embeddings, got None; use 'gaussian'"),
        (torch.zeros(10), r"got whole numbers as torch.float32 \[10\]; pass labels as integers"),
        (torch.zeros(10, 2, dtype=torch.long), r"got torch.int64 \[10, 2\]"),
        (torch.full((10, 2), torch.nan), "expected finite embeddings, got NaN or infinity"),
        ([torch.zeros(5, 2), torch.zeros(5, 3)], r"expected embeddings \[B, 2\] throughout"),
    ],
)
def test_conditions_that_cannot_be_learned_are_refused_at_fit(cond, message):
    data = (torch.zeros(10, 3), cond)
    if isinstance(cond, list):
        data = [(torch.zeros(5, 3), part) for part in cond]
    with pytest.raises(InputError, match=rf"^learned-mean\.fit: .*{message}"):
        Prior.create("learned-mean").fit(data)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigma": 0.0}, "expected sigma > 0, 'scalar' or 'diagonal', got 0.0"),
        ({"sigma": "full"}, "got 'full'"),
        ({"sigma": None}, "got None"),
        ({"latent": -1}, "latent=-1 is not possible; expected a whole number, 0 or more"),
        ({"hidden": 0}, "hidden=0 is not possible; expected a whole number, 1 or more"),
        ({"depth": 1.5}, "depth=1.5 is not possible; expected a whole number"),
        ({"epochs": 0}, "epochs=0 is not possible; expected a whole number, 1 or more"),
        ({"batch_size": True}, "batch_size=True is not possible; expected a whole number"),
        ({"lr": 0.0}, "expected lr to be a finite number > 0, got 0.0"),
        ({"lr": "fast"}, "lr='fast' is not possible; expected a finite number"),
        ({"holdout": 1.0}, r"expected holdout in \[0, 0.5\], got 1.0"),
        ({"holdout": "some"}, "holdout='some' is not possible; expected a finite number"),
        ({"covariance": "full"}, "covariance"),
        ({"covariance": "lowrank", "latent": 2}, "expected latent=0 with covariance='lowrank', got 2"),
        ({"rank": 0}, "rank=0 is not possible"),
        ({"components": 0}, "components=0 is not possible"),
        ({"steps": 0}, "steps=0 is not possible"),
        ({"source_noise": -1.0}, "expected source_noise to be a number from 0"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        Prior.create("learned-mean", **options)


def slow_to_learn(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """800 rows of a mean that takes a small mapper many passes."""
    e = torch.randn(800, 4, generator=generator)
    mean = torch.tanh(e @ torch.randn(4, 32, generator=generator)) @ torch.randn(32, 6, generator=generator)
    return mean + 0.1 * torch.randn(800, 6, generator=generator), e


def test_the_mapper_trains_until_held_out_rows_gain_no_more(generator):
    """Twenty passes are not enough, and nobody had to say how many are."""
    x, e = slow_to_learn(generator)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        prior = fitted(x[:600], e[:600], epochs=400)
    with pytest.warns(RuntimeWarning, match="learned-mean.fit: the mapper has not converged in epochs=20"):
        short = fitted(x[:600], e[:600], epochs=20)
    errors = [(x[600:] - found.mean(e[600:])).square().mean() for found in (short, prior)]
    assert errors[1] < 0.8 * errors[0]


def test_training_stops_before_its_bound_where_there_is_nothing_to_learn(generator):
    e = torch.randn(300, 2, generator=generator)
    mapper = Mapper(Condition("embeddings", 2), 3, 8, 1)
    data = Holdout(CheckedBatches((torch.randn(300, 3, generator=generator), e), "learned-mean"), 0.2)
    progress = train_mapper(mapper, data, torch.zeros(3), MapperTraining(500, 64, 1e-3), generator)
    assert progress.converged
    assert progress.epochs < 100
    assert held_out_error(mapper, data, torch.zeros(3)) == pytest.approx(progress.error)
