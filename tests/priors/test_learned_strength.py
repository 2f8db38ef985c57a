"""How far covariances of labels with few examples are drawn to the common one, and to what."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowprior import Prior
from flowprior.data.stream import CheckedBatches
from flowprior.mixtures import FitSettings
from flowprior.mixtures.moments import ConditionMoments
from flowprior.priors.few_examples import (
    GIVEN,
    SINGLE,
    STRENGTHS,
    UNKNOWN_STRENGTH,
    are_few,
    learned_strength,
    shares_given,
    shrunk_covariances,
)

DIM, RANK = 6, 3


def rows_of(covariances: Tensor, each: int) -> tuple[Tensor, Tensor]:
    """``each`` normal rows of mean 0 of each covariance ``[C, r, r]``, and their labels."""
    generator = torch.Generator().manual_seed(0)
    factors = torch.linalg.cholesky(covariances)
    rows = torch.randn(len(factors), each, DIM, generator=generator, dtype=torch.float64) @ factors.mT
    return rows.flatten(0, 1), torch.arange(len(factors)).repeat_interleave(each)


def turned(labels: int, generator: torch.Generator) -> Tensor:
    """Covariances ``[C, D, D]`` of one spectrum, far from white, each in directions of its own."""
    noise = torch.randn(labels, DIM, DIM, generator=generator, dtype=torch.float64)
    axes = torch.linalg.qr(noise).Q
    return axes @ torch.diag(torch.tensor([4.0, 1.4, 0.4, 0.1, 0.05, 0.05]).double()) @ axes.mT


def test_labels_of_one_covariance_are_drawn_to_it_and_labels_of_their_own_are_not():
    alike, labels = rows_of(torch.eye(DIM).double().expand(30, -1, -1), 12)
    assert learned_strength(alike, labels) >= 64
    different, labels = rows_of(turned(30, torch.Generator().manual_seed(1)), 12)
    assert learned_strength(different, labels) <= 8


def test_labels_of_three_rows_tell_no_strength():
    rows, labels = rows_of(torch.eye(DIM).double().expand(20, -1, -1), 3)
    assert learned_strength(rows, labels) == UNKNOWN_STRENGTH


@pytest.fixture(scope="module")
def unequal() -> tuple[Tensor, Tensor]:
    """Labels of 400, 1, 5 and 12 rows, of means that differ and one covariance."""
    generator = torch.Generator().manual_seed(4)
    labels = torch.arange(4).repeat_interleave(torch.tensor([400, 1, 5, 12]))
    spread = torch.tensor([3.0, 2.0, 1.0, 0.3, 0.3, 0.3])
    means = 5 * torch.randn(4, DIM, generator=generator)
    return means[labels] + spread * torch.randn(len(labels), DIM, generator=generator), labels


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
        torch.testing.assert_close(found.mean[label], rows.mean(0))
    halfway = (x[labels == 1][0] + SINGLE * x.mean(0)) / (1 + SINGLE)
    torch.testing.assert_close(found.mean[1], halfway.double(), rtol=1e-5, atol=1e-5)
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
    for label in (2, 3):
        rows = x[labels == label].double()
        expected = found.variances(rows.var(0, correction=0).expand(4, 1, -1))[label, 0]
        frame = prior.frame(torch.tensor([label]), 1)
        variance = frame.noise * (1 + frame.diagonal(frame.spread - 1))
        torch.testing.assert_close(variance[0].double(), expected + 0.01, rtol=0.1, atol=0.03)


def test_few_are_fewer_than_eight_times_the_latents():
    count = torch.tensor([0.0, 1.0, 23.0, 24.0])
    assert are_few(count, RANK).tolist() == [False, True, True, False]
    shares = shares_given(count, RANK)
    assert shares.tolist() == pytest.approx([0, GIVEN / (1 + GIVEN), GIVEN / (23 + GIVEN), 0])


def test_many_examples_leave_the_fit_alone(unequal):
    x, labels = unequal
    many = (x[labels == 0], torch.arange(400) % 4)
    assert (
        shrunk_covariances(
            CheckedBatches([many], "test"), ConditionMoments.over([many]), RANK, FitSettings(0.01)
        )
        is None
    )
