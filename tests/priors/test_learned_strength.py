"""How far covariances of labels with few examples are drawn to the common one, and to what."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowprior import Prior
from flowprior.mixtures.covariance import FitSettings
from flowprior.mixtures.moments import ConditionMoments
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
from flowprior.streams.batches import CheckedBatches

DIM, RANK = 6, 3
WIDE, LATENTS, LABELS = 16, 4, 40


def strength_of(own: float, each: int, labels: int = LABELS) -> float:
    """ν learned from normal rows of labels, which vary by a share ``own`` in directions of their own."""
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(1, LATENTS, WIDE, generator=generator)
    directions = (1 - own) ** 0.5 * common + own**0.5 * torch.randn(
        labels, LATENTS, WIDE, generator=generator
    )
    x = torch.randn(labels, each, LATENTS, generator=generator) @ directions
    x = (x + 0.1 * torch.randn(x.shape, generator=generator)).flatten(0, 1)
    batch = x, torch.arange(labels).repeat_interleave(each)
    moments = ConditionMoments.over([batch])
    return learned_strength(CheckedBatches([batch], "test"), moments.count, LATENTS, FitSettings(0.04))


def test_labels_of_one_covariance_are_drawn_to_it_and_labels_of_their_own_are_not():
    assert strength_of(own=0.0, each=6) >= 16, "of rank 4, of six rows, beside a floor above the noise"
    assert strength_of(own=0.9, each=24) <= 4


@pytest.mark.parametrize(("each", "labels"), [(3, 20), (30, 1)])
def test_three_rows_or_one_label_tell_no_strength(each, labels):
    assert strength_of(own=0.5, each=each, labels=labels) == UNKNOWN_STRENGTH


@pytest.fixture(scope="module")
def unequal() -> tuple[Tensor, Tensor]:
    """Labels of 400, 1, 5 and 12 rows, of means that differ and one covariance."""
    generator = torch.Generator().manual_seed(4)
    labels = torch.arange(4).repeat_interleave(torch.tensor([400, 1, 5, 12]))
    spread = torch.tensor([3.0, 2.0, 1.0, 0.3, 0.3, 0.3])
    means = 5 * torch.randn(4, DIM, generator=generator)
    turn = torch.linalg.qr(torch.randn(DIM, DIM, generator=generator)).Q
    return means[labels] + (spread * torch.randn(len(labels), DIM, generator=generator)) @ turn, labels


def test_moments_are_those_of_the_formula(unequal):
    x, labels = unequal
    data = CheckedBatches([unequal], "test")
    found = shrunk_covariances(data, ConditionMoments.over([unequal]), RANK, FitSettings(0.01))
    assert found is not None
    assert found.few.tolist() == [False, True, True, True]
    common = found.factor @ found.factor.T + found.noise.diag()
    strength = None
    for label, n in ((2, 5), (3, 12)):
        rows = x[labels == label].double()
        own = (rows - rows.mean(0)).T @ (rows - rows.mean(0)) / n
        applied = found.times(torch.eye(DIM).double().expand(4, 1, -1, -1), own.expand(4, 1, -1, -1))
        candidates = [(1 + 1 / n) * (n * own * n / (n - 1) + nu * common) / (n + nu) for nu in STRENGTHS]
        errors = torch.stack([(applied[label, 0] - candidate).abs().max() for candidate in candidates])
        assert errors.min() < 1e-9
        assert strength in (None, int(errors.argmin())), "one strength for all labels"
        strength = int(errors.argmin())
    single = found.variances(torch.zeros(4, 1, DIM).double())[1, 0]
    torch.testing.assert_close(single, 2 * common.diagonal())


def test_the_prior_has_these_moments(unequal):
    x, labels = unequal
    prior = Prior.create("latent-gmm", rank=RANK, reg_covar=0.01)
    with pytest.warns(RuntimeWarning, match="one example"):
        prior.fit(unequal, generator=torch.Generator().manual_seed(0))
    data = CheckedBatches([unequal], "test")
    found = shrunk_covariances(data, ConditionMoments.over([unequal]), RANK, FitSettings(0.01))
    assert found is not None
    for label in (1, 2, 3):
        rows = x[labels == label].double()
        torch.testing.assert_close(prior.spread(torch.tensor([label]), 1).loc[0].double(), rows.mean(0))
        expected = found.variances(rows.var(0, correction=0).expand(4, 1, -1))[label, 0]
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


def test_the_common_covariance_is_that_within_labels(unequal):
    """Of rows about their label's mean, over the degrees of freedom that are left; of no single example."""
    x, labels = unequal
    found = shrunk_covariances(
        CheckedBatches([unequal], "test"), ConditionMoments.over([unequal]), RANK, FitSettings(0.01)
    )
    assert found is not None
    variance = found.factor.square().sum(1) + found.noise
    within = sum(
        (x[labels == label].var(0) * int((labels == label).sum()) for label in (0, 2, 3)), torch.zeros(DIM)
    )
    torch.testing.assert_close(variance.float(), within / 417, rtol=0.02, atol=0.005)


def test_many_examples_leave_the_fit_alone(unequal):
    x, labels = unequal
    many = (x[labels == 0], torch.arange(400) % 4)
    assert (
        shrunk_covariances(
            CheckedBatches([many], "test"), ConditionMoments.over([many]), RANK, FitSettings(0.01)
        )
        is None
    )
