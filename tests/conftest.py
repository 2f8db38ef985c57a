"""What all tests share: one seeded generator, one labelled data set, a quiet hypothesis profile."""

from __future__ import annotations

import hypothesis
import pytest
import torch
from torch import Tensor

hypothesis.settings.register_profile(
    "repeatable",
    deadline=None,
    derandomize=True,
    max_examples=25,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture
def generator() -> torch.Generator:
    """A generator that starts at the same place in every test."""
    return torch.Generator().manual_seed(20250211)


@pytest.fixture
def three_classes() -> tuple[Tensor, Tensor]:
    """600 rows of three correlated Gaussian classes of 100, 200 and 300 in four dimensions, float64."""
    generator = torch.Generator().manual_seed(7)
    labels = torch.tensor([0] * 100 + [1] * 200 + [2] * 300)
    means = torch.tensor([[3.0, 0.0, -1.0, 0.5], [-2.0, 1.0, 4.0, 0.0], [0.0, -5.0, 0.0, 2.0]]).double()
    mix = torch.randn(3, 4, 4, generator=generator, dtype=torch.float64)
    noise = torch.randn(600, 4, generator=generator, dtype=torch.float64)
    rows = torch.randperm(600, generator=generator)
    x = means[labels] + torch.einsum("nij,nj->ni", mix[labels], noise)
    return x[rows], labels[rows]
