"""Ridge regression as the mean of a learned-mean prior, against scikit-learn's."""

from __future__ import annotations

import pytest
import torch
from sklearn.linear_model import Ridge

from flowprior import Prior
from flowprior.conditions import Condition
from flowprior.errors import InputError
from flowprior.priors.holdout import Holdout
from flowprior.priors.mappers import STRENGTHS, UNCHOSEN, LinearMapper
from flowprior.streams.batches import CheckedBatches


def rows(generator: torch.Generator, n: int = 600) -> tuple[torch.Tensor, torch.Tensor]:
    cond = torch.randn(n, 5, generator=generator, dtype=torch.float64) * torch.tensor(
        [1.0, 2.0, 0.5, 1.0, 9.0]
    )
    weight = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    return cond @ weight + 3 + 0.3 * torch.randn(n, 4, generator=generator, dtype=torch.float64), cond


def test_it_is_scikit_learns_ridge_regression(generator):
    x, cond = rows(generator)
    data = Holdout(CheckedBatches((x, cond), "learned-mean"), 0.0)
    mapper = LinearMapper(Condition("embeddings", 5), 4).double()
    mapper.fit(data, x.mean(0))
    standard = (cond - cond.mean(0)) / cond.std(0, correction=0)
    expected = Ridge(UNCHOSEN * len(x)).fit(standard.numpy(), x.numpy()).predict(standard.numpy())
    assert torch.allclose(mapper(cond) + x.mean(0), torch.from_numpy(expected), atol=1e-8)


def test_the_strength_is_that_of_the_least_error_on_held_out_rows(generator):
    """Of 40 rows with 30 useless numbers each a strong one; of many rows a weak one."""
    cond = torch.randn(40, 30, generator=generator, dtype=torch.float64)
    x = torch.randn(40, 2, generator=generator, dtype=torch.float64)
    few = LinearMapper(Condition("embeddings", 30), 2).double()
    few.fit(Holdout(CheckedBatches((x, cond), "learned-mean"), 0.25), x.mean(0))
    assert few(cond).square().mean() < 0.5 * x.square().mean()
    x, cond = rows(generator, 4000)
    many = LinearMapper(Condition("embeddings", 5), 4).double()
    many.fit(Holdout(CheckedBatches((x, cond), "learned-mean"), 0.25), x.mean(0))
    assert (many(cond) + x.mean(0) - x).square().mean().item() == pytest.approx(0.09, rel=0.1)
    assert tuple(sorted(STRENGTHS)) == STRENGTHS


def test_of_series_it_reads_the_last_step(generator):
    series = torch.randn(500, 3, 8, generator=generator)
    x = 2 * series[:, :, -1] + 0.1 * torch.randn(500, 3, generator=generator)
    prior = Prior.create("learned-mean", mapper="linear", sigma="diagonal").fit(
        (x, series), generator=generator
    )
    other = series.clone()
    other[:, :, :-1] = 0
    assert torch.equal(prior.mean(series), prior.mean(other))
    assert float((prior.mean(series) - x).square().mean()) < 0.05


@pytest.mark.parametrize("covariance", ["fixed", "diagonal", "lowrank"])
def test_it_serves_every_covariance_and_is_the_same_when_loaded(covariance, generator):
    series = torch.randn(300, 2, 6, generator=generator)
    x = (series[:, :, -1:] + 0.3 * torch.randn(300, 2, 4, generator=generator)).clone()
    options = {"mapper": "linear", "covariance": covariance, "hidden": 8, "depth": 0, "rank": 3}
    options |= {"steps": 20, "components": 2, "sigma": 0.3}
    prior = Prior.create("learned-mean", **options).fit((x, series), generator=generator)
    copy = Prior.create("learned-mean", **options)
    copy.load_state_dict(prior.state_dict())
    draws = [one.sample(series[:5], 5, generator=torch.Generator().manual_seed(1)) for one in (prior, copy)]
    assert draws[0].shape == (5, 2, 4)
    assert torch.allclose(*draws, atol=1e-6)


def test_labels_are_refused(generator):
    x = torch.randn(40, 3, generator=generator)
    with pytest.raises(InputError, match="mapper='linear', got labels; use 'gmm'"):
        Prior.create("learned-mean", mapper="linear").fit((x, torch.arange(40) % 4))


def test_the_units_of_the_condition_do_not_matter(generator):
    """Mean and spread, whose deviations grow with a number of the condition."""
    cond = torch.randn(3000, 2, generator=generator, dtype=torch.float64)
    noise = torch.randn(3000, 3, generator=generator, dtype=torch.float64)
    x = cond.sum(1, keepdim=True) + (0.5 * cond[:, :1]).exp() * noise
    spec = "learned-mean:mapper=linear,covariance=diagonal,steps=200,reg_covar=0"
    found = []
    for shift, factor in ((0.0, 1.0), (1000.0, 1.0), (0.0, 1e-3), (0.0, 1e3)):
        given = factor * cond + shift
        prior = Prior.create(spec).fit((x, given), generator=torch.Generator().manual_seed(0))
        found.append(prior.log_prob(x, given).mean().item())
    assert found == pytest.approx([found[0]] * 4, abs=1e-3)


def test_conditions_far_from_zero_lose_no_digits(generator):
    cond = 1e8 + torch.randn(500, 2, generator=generator, dtype=torch.float64)
    x = (cond - 1e8) @ torch.ones(2, 3, dtype=torch.float64)
    mapper = LinearMapper(Condition("embeddings", 2), 3).double()
    mapper.fit(Holdout(CheckedBatches((x, cond), "learned-mean"), 0.25), x.mean(0))
    assert float((mapper(cond) + x.mean(0) - x).detach().square().mean()) < 1e-4
