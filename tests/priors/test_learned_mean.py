"""The learned-mean prior: P(c) approaches E[x1 | c]; its spread is fixed, or estimated on held-out rows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from flowprior.errors import InputError, OptionError
from flowprior.priors import Prior, network_training
from flowprior.priors.holdout import Holdout
from flowprior.priors.learned_mean import LearnedMeanPrior
from flowprior.streams.batches import CheckedBatches
from tests.priors.captions import as_near

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
    return as_near(fitted(x, e, sigma="diagonal", epochs=20)), x, e, mean


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
    held_out = list(Holdout(CheckedBatches((x, e), "learned-mean"), 0.1).rows(held_out=True))
    residual = torch.cat([rows - prior.mean(c) for rows, c in held_out])
    assert len(residual) == 200
    torch.testing.assert_close(prior.residuals.noise, residual.square().mean(0) + 1e-6, rtol=1e-4, atol=0.0)


@pytest.mark.parametrize("sigma", [0.7, 2])
def test_fixed_spread_is_what_was_asked_for(sigma, generator):
    x, labels, _ = labelled(100, generator)
    prior = fitted(x, labels, sigma=sigma, epochs=1)
    torch.testing.assert_close(prior.residuals.noise, torch.full((3,), float(sigma) ** 2))
    assert not prior.has_latents
    with pytest.raises(InputError, match="no latent variables"):
        prior.infer(x, labels)


# -- the law ----------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", ["diagonal", 0.3])
def test_density_is_the_normal_around_the_mean(sigma):
    x, labels, _ = labelled(300, torch.Generator().manual_seed(4))
    prior = fitted(x.double(), labels, sigma=sigma, epochs=3)
    normal = Normal(prior.mean(labels), prior.residuals.noise.sqrt())
    log_prob = prior.log_prob(x.double(), labels)
    torch.testing.assert_close(log_prob, normal.log_prob(x).sum(1), rtol=1e-10, atol=1e-10)
    assert not log_prob.requires_grad, "a fitted prior is a constant"


def test_marginal_density_over_embeddings_is_that_around_the_centres_it_keeps(generator):
    x, e, _ = embedded(150, generator)
    prior = fitted(x.double(), e.double(), epochs=2)
    assert 8 <= len(prior.seen.rows) <= 18
    rows = prior.seen.draw(1024, torch.Generator().manual_seed(0))[:256]
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
        ({"sigma": 0.0}, "expected sigma > 0, 'scalar' or 'diagonal', or kernels .* got 0.0"),
        ({"sigma": "full"}, "got 'full'"),
        ({"sigma": None}, "got None"),
        ({"hidden": 0}, "hidden=0 is not possible; expected a whole number, 1 or more"),
        ({"depth": 1.5}, "depth=1.5 is not possible; expected a whole number"),
        ({"epochs": 0}, "epochs=0 is not possible; expected a whole number, 1 or more"),
        ({"batch_size": True}, "batch_size=True is not possible; expected a whole number"),
        ({"lr": 0.0}, "expected lr to be a number from 1e-12 to 1e.12, got 0.0"),
        ({"lr": "fast"}, "lr='fast' is not possible; expected a finite number"),
        ({"holdout": 1.0}, "expected holdout to be a number from 0 to 0.5, got 1.0"),
        ({"holdout": "some"}, "holdout='some' is not possible; expected a finite number"),
        ({"covariance": "full"}, "covariance"),
        ({"rank": 0}, "rank=0 is not possible"),
        ({"components": 0}, "components=0 is not possible"),
        ({"steps": 0}, "steps=0 is not possible"),
        ({"source_noise": -1.0}, "expected source_noise to be a number from 0"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        Prior.create("learned-mean", **options)


def test_a_training_leaves_the_weights_of_least_held_out_error(generator):
    """Where there is nothing to learn, these are the first ones, and the mean that of all data."""
    x, e = torch.randn(60, 3, generator=generator), torch.randn(60, 20, generator=generator)
    prior = fitted(x, e, hidden=256, lr=0.05, epochs=100, holdout=0.5)
    assert (prior.mean(e) - x.mean(0)).square().mean() < 0.1


def test_a_training_takes_no_more_passes_than_it_may(generator, monkeypatch):
    steps, own = [], torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda *args: steps.append(1) or own(*args))
    x, labels, _ = labelled(100, generator)
    fitted(x, labels, batch_size=15, epochs=5)
    fitted(x, labels, batch_size=90, epochs=5)
    assert len(steps) == 5 * 90 // 15 + 5 * 4


@pytest.mark.parametrize(("steps", "peak", "looks"), [(9, 1, 10), (19, 1, 20), (39, 3, 40), (45, 3.6, 24)])
def test_the_rate_rises_for_a_tenth_of_the_steps_and_falls_along_a_cosine(
    steps, peak, looks, generator, monkeypatch
):
    """Held-out rows are looked at first, at twenty steps or as many as need be, and at the last one."""
    rates, own = [], torch.optim.AdamW.step
    looked, loss = [], network_training._held_out_loss
    monkeypatch.setattr(network_training, "_held_out_loss", lambda *given: looked.append(1) or loss(*given))

    def counted(self: torch.optim.AdamW, *given: object) -> object:
        rates.append(self.param_groups[0]["lr"])
        return own(self, *given)

    monkeypatch.setattr(torch.optim.AdamW, "step", counted)
    x, labels, _ = labelled(100, generator)
    fitted(x, labels, steps=steps, lr=1.0)
    place = torch.arange(steps).double()
    assert len(looked) == looks
    rise = 1 - 0.9 * (1 + (torch.pi * place / peak).cos()) / 2
    fall = (1 + (torch.pi * (place - peak) / (steps - peak)).cos()) / 2
    expected = torch.where(place < peak, rise, fall)
    torch.testing.assert_close(torch.tensor(rates).double(), expected, rtol=0, atol=1e-4)
