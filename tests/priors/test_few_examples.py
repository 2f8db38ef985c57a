"""Labels with one example, or with few: a warning, a prior that can be used, and what draws it to all."""

from __future__ import annotations

import inspect
import warnings

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from torch import Tensor

from flowprior import Prior
from flowprior.mixtures.covariance import FitSettings
from flowprior.mixtures.moments import ConditionMoments
from flowprior.priors import few_examples
from flowprior.priors.few_examples import (
    EQUAL,
    STRENGTHS,
    UNKNOWN_STRENGTH,
    are_few,
    examples_given,
    learned_strength,
    shares_given,
    shrunk_covariances,
)
from flowprior.priors.subspace import fit_rows
from flowprior.streams.batches import CheckedBatches

DIM = 8


@pytest.fixture
def unequal() -> tuple[Tensor, Tensor]:
    """200 rows of label 0, one of label 1, three of label 2; unit spread about means 3 apart."""
    generator = torch.Generator().manual_seed(6)
    labels = torch.tensor([0] * 200 + [1] + [2] * 3)
    return torch.randn(204, DIM, generator=generator) + 3.0 * labels[:, None], labels


def fitted(spec: str, data: tuple[Tensor, Tensor]) -> Prior:
    return Prior.registry.resolve(spec).fit(data, generator=torch.Generator().manual_seed(0))


def test_one_example_gives_the_default_prior_a_spread(unequal):
    with pytest.warns(RuntimeWarning, match="latent-gmm.fit: label 1 has one example, which has no spread"):
        prior = fitted("latent-gmm:components=2,rank=4", unequal)
    one = torch.ones(500, dtype=torch.long)
    draws = prior.sample(one, generator=torch.Generator().manual_seed(1))
    assert draws.std(0).mean() > 0.6, "the square root of reg_covar, 0.2, makes copies"
    only = unequal[0][200:201]
    assert torch.isfinite(prior.log_prob(only, one[:1])).all()
    assert (draws.mean(0) - only[0]).norm() < (unequal[0].mean(0) - only[0]).norm()
    x, labels = unequal  # other labels do not change for it
    torch.testing.assert_close(prior.subspace.loc[0], x[labels == 0].mean(0), rtol=1e-5, atol=1e-5)


def test_more_components_than_examples_are_named(unequal):
    with pytest.warns(RuntimeWarning) as caught:
        prior = fitted("latent-gmm:components=40,rank=4", unequal)
    messages = [str(warning.message) for warning in caught]
    assert any(
        "latent-gmm.fit: label 2 has fewer examples than components=40, down to 36" in text
        for text in messages
    )
    used = prior.latents.logits.isfinite().sum(1)[:3].tolist()
    assert used[:2] == [40, 40], "label 1 has 1 example of its own and 100 of its prior's"
    assert used[2] <= 3 + round(EQUAL**2 / 3)
    assert caught[-1].filename == inspect.getfile(type(prior.latents)), "the fit whose examples are few"


def test_a_mixture_of_copies_says_so(unequal):
    with pytest.warns(RuntimeWarning, match="gmm.fit: label 1 has one example, .* set shrinkage > 0"):
        fitted("gmm", unequal)


@pytest.mark.parametrize(
    ("singles", "words"),
    [
        (1, "label 0"),
        (2, "each of labels 0, 1"),
        (5, ".*, 3, 4"),
        (6, ".*, 4 and 1 more"),
        (9, ".*, 4 and 4 more"),
    ],
)
def test_up_to_five_labels_are_named(singles, words, generator):
    labels = torch.arange(singles + 20).clamp_max(singles)
    with pytest.warns(RuntimeWarning, match=f"^gmm.fit: {words} has one example"):
        fitted("gmm", (torch.randn(len(labels), 2, generator=generator), labels))


@pytest.mark.parametrize("spec", ["gmm", "latent-gmm:components=2,rank=4", "gmm:components=2,shrinkage=1"])
def test_enough_examples_give_no_warning(spec, unequal):
    x, labels = unequal
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        fitted(spec, (x[labels == 0], torch.arange(200) % 2))


# -- the strength that is learned -----------------------------------------------------------------


WIDTH, RANK = 6, 3
WIDE, LATENTS, LABELS = 16, 4, 40


def rows_of(own: float, each: int, labels: int) -> tuple[Tensor, Tensor]:
    """Normal rows of labels, which vary by a share ``own`` in directions of their own."""
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(1, LATENTS, WIDE, generator=generator)
    directions = (1 - own) ** 0.5 * common + own**0.5 * torch.randn(
        labels, LATENTS, WIDE, generator=generator
    )
    x = torch.randn(labels, each, LATENTS, generator=generator) @ directions
    x = (x + 0.1 * torch.randn(x.shape, generator=generator)).flatten(0, 1)
    return x, torch.arange(labels).repeat_interleave(each)


def strength_of(own: float, each: int, labels: int = LABELS) -> float:
    """ν learned from such rows."""
    batch = rows_of(own, each, labels)
    moments = ConditionMoments.over([batch])
    return learned_strength(CheckedBatches([batch], "test"), moments.count, LATENTS, FitSettings(0.04))


def test_labels_of_one_covariance_are_drawn_to_it_and_labels_of_their_own_are_not():
    assert strength_of(own=0.0, each=6) >= 16, "of rank 4, of six rows, beside a floor above the noise"
    assert strength_of(own=0.9, each=24) <= 4


@pytest.mark.parametrize(("each", "labels", "known"), [(3, 20, False), (30, 1, False), (4, 20, True)])
def test_three_rows_or_one_label_tell_no_strength(each, labels, known):
    assert (strength_of(own=0.0, each=each, labels=labels) != UNKNOWN_STRENGTH) is known


@pytest.mark.parametrize("own", [0.1, 0.4, 0.8])
def test_the_strength_is_the_likeliest_of_each_half_given_the_other(own):
    """Of two labels, along the axes of what the other one has."""
    x, labels = rows_of(own, 24, 2)
    one, other = x[labels == 0], torch.cat([x[labels == 1], x[labels == 1][:7] + 0.3])
    strengths, total = 2.0 ** np.arange(-1, 9), np.zeros(10)
    for known, held_out in ((one.numpy(), other.numpy()), (other.numpy(), one.numpy())):
        centred = (known - known.mean(0)) * (len(known) / (len(known) - 1)) ** 0.5
        common = fit_rows(torch.from_numpy(centred), LATENTS, FitSettings(0.04), "test")
        noise, basis, spread = (common[name][0].numpy() for name in ("noise", "basis", "spread"))
        halves = np.array_split(held_out / np.sqrt(noise) @ basis / np.sqrt(spread), 2)
        for new, old in (halves, halves[::-1]):
            wider, exact = 1 + 1 / len(old), np.zeros(10)
            for i, strength in enumerate(strengths):
                weight = strength / (len(old) + strength)
                covariance = wider * ((1 - weight) * np.cov(old.T) + weight * np.eye(LATENTS))
                exact[i] = multivariate_normal(old.mean(0), covariance).logpdf(new).sum()
            density = few_examples._log_density(torch.from_numpy(new), torch.from_numpy(old)).numpy()
            np.testing.assert_allclose(density - density[0], exact - exact[0], rtol=1e-4, atol=1e-3)
            total += exact
    batch = torch.cat([one, other]), torch.tensor([0] * len(one) + [1] * len(other))
    count = ConditionMoments.over([batch]).count
    found = learned_strength(CheckedBatches([batch], "test"), count, LATENTS, FitSettings(0.04))
    assert found == strengths[total.argmax()]


@pytest.mark.parametrize(
    ("bounds", "looked_at"),
    [({}, 20), ({"SAMPLE": 7 * 64}, 7), ({"NUMBERS": 3 * 64 * WIDE}, 3), ({"NUMBERS": 1}, 2)],
)
def test_the_labels_that_the_strength_is_learned_from_are_limited(bounds, looked_at, monkeypatch):
    for name, value in bounds.items():
        monkeypatch.setattr(few_examples, name, value)
    halves, own = [], few_examples._log_density
    monkeypatch.setattr(few_examples, "_log_density", lambda *given: halves.append(given[0]) or own(*given))
    strength_of(own=0.5, each=70, labels=20)
    assert [len(half) for half in halves] == [32] * 2 * looked_at, "64 rows of each"


@pytest.fixture(scope="module")
def of_few() -> tuple[Tensor, Tensor]:
    """Labels of 400, 1, 5, 12 and 2 rows, of means that differ and one covariance."""
    generator = torch.Generator().manual_seed(4)
    labels = torch.arange(5).repeat_interleave(torch.tensor([400, 1, 5, 12, 2]))
    spread = torch.tensor([3.0, 2.0, 1.0, 0.3, 0.3, 0.3])
    means = 5 * torch.randn(5, WIDTH, generator=generator)
    turn = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=generator)).Q
    return means[labels] + (spread * torch.randn(len(labels), WIDTH, generator=generator)) @ turn, labels


def test_moments_are_those_of_the_formula(of_few):
    x, labels = of_few
    data = CheckedBatches([of_few], "test")
    found = shrunk_covariances(data, ConditionMoments.over([of_few]), RANK, FitSettings(0.01))
    assert found is not None
    assert found.few.tolist() == [False, True, True, True, True]
    common = found.factor @ found.factor.T + found.noise.diag()
    strength = None
    for label, n in ((2, 5), (3, 12), (4, 2)):
        rows = x[labels == label].double()
        own = (rows - rows.mean(0)).T @ (rows - rows.mean(0)) / n
        applied = found.times(torch.eye(WIDTH).double().expand(5, 1, -1, -1), own.expand(5, 1, -1, -1))
        candidates = [(1 + 1 / n) * (n * own * n / (n - 1) + nu * common) / (n + nu) for nu in STRENGTHS]
        errors = torch.stack([(applied[label, 0] - candidate).abs().max() for candidate in candidates])
        assert errors.min() < 1e-9
        assert strength in (None, int(errors.argmin())), "one strength for all labels"
        strength = int(errors.argmin())
    single = found.variances(torch.zeros(5, 1, WIDTH).double())[1, 0]
    torch.testing.assert_close(single, 2 * common.diagonal())


def test_the_prior_has_these_moments(of_few):
    x, labels = of_few
    prior = Prior.create("latent-gmm", rank=RANK, reg_covar=0.01)
    with pytest.warns(RuntimeWarning, match="one example"):
        prior.fit(of_few, generator=torch.Generator().manual_seed(0))
    data = CheckedBatches([of_few], "test")
    found = shrunk_covariances(data, ConditionMoments.over([of_few]), RANK, FitSettings(0.01))
    assert found is not None
    for label in (1, 2, 3):
        rows = x[labels == label].double()
        torch.testing.assert_close(prior.spread(torch.tensor([label]), 1).loc[0].double(), rows.mean(0))
        expected = found.variances(rows.var(0, correction=0).expand(5, 1, -1))[label, 0]
        frame = prior.spread(torch.tensor([label]), 1)
        variance = frame.noise * (1 + frame.axes.diagonal(frame.spread - 1))
        torch.testing.assert_close(variance[0].double(), expected + 0.01, rtol=0.1, atol=0.03)


def test_few_are_fewer_than_eight_times_the_latents():
    count = torch.tensor([0.0, 1.0, 23.0, 24.0])
    assert are_few(count, RANK).tolist() == [False, True, True, False]
    shares = shares_given(count, RANK)
    assert shares.tolist() == pytest.approx([0, EQUAL**2 / (1 + EQUAL**2), EQUAL**2 / (23**2 + EQUAL**2), 0])
    assert examples_given(count, RANK).tolist() == [0, EQUAL**2, round(EQUAL**2 / 23), 0]
    equal = torch.tensor([float(EQUAL)])
    assert float(shares_given(equal, RANK)) == 0.5
    assert int(examples_given(equal, RANK)) == EQUAL


def test_the_common_covariance_is_that_within_labels(of_few):
    """Of rows about their label's mean, over the degrees of freedom that are left; of no single example."""
    x, labels = of_few
    found = shrunk_covariances(
        CheckedBatches([of_few], "test"), ConditionMoments.over([of_few]), RANK, FitSettings(0.01)
    )
    assert found is not None
    variance = found.factor.square().sum(1) + found.noise
    within = sum(
        (x[labels == label].var(0) * int((labels == label).sum()) for label in (0, 2, 3, 4)),
        torch.zeros(WIDTH),
    )
    torch.testing.assert_close(variance.float(), within / 419, rtol=0.02, atol=0.005)


def test_many_examples_leave_the_fit_alone(of_few):
    x, labels = of_few
    many = (x[labels == 0], torch.arange(400) % 4)
    assert (
        shrunk_covariances(
            CheckedBatches([many], "test"), ConditionMoments.over([many]), RANK, FitSettings(0.01)
        )
        is None
    )
