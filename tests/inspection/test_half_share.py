"""The half share tells a prior that copies from one that generalises."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowprior import Prior
from flowprior.errors import InputError
from flowprior.inspection import half_share


@pytest.fixture
def labelled() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(800) % 2
    return torch.randn(800, 2, 4, generator=generator) + 3 * labels[:, None, None], labels


def copying() -> Prior:
    """One component an example, with hardly any spread."""
    return Prior.create("gmm", components=200, reg_covar=1e-6, max_iter=1)


def test_a_gaussian_of_each_label_has_half(labelled, generator):
    share = half_share(lambda: Prior.create("gmm", covariance="full"), *labelled, generator=generator)
    assert share == pytest.approx(0.5, abs=0.08)


def test_a_prior_of_one_narrow_component_an_example_is_found_out(labelled, generator):
    assert half_share(copying, *labelled, generator=generator) > 0.9


def test_data_without_labels_and_with_embeddings(labelled, generator):
    x, _ = labelled
    assert half_share(lambda: Prior.create("gmm"), x, generator=generator) == pytest.approx(0.5, abs=0.08)
    embeddings = torch.randn(800, 3, generator=generator)
    prior = lambda: Prior.create("gaussian")  # noqa: E731
    assert 0 <= half_share(prior, x, embeddings, generator=generator) <= 1


def test_too_little_data_is_refused():
    with pytest.raises(InputError, match="expected 4 rows or more, two of a label, got 2"):
        half_share(lambda: Prior.create("gmm"), torch.zeros(2, 3), torch.tensor([0, 1]))
