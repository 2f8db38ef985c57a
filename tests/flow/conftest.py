"""Data whose pairs are jointly Gaussian, and their prior, for tests of predictions."""

from __future__ import annotations

import pytest

from flowprior import Prior
from flowprior.data import TensorData
from tests.couplings.gaussian_pairs import exact_prior, gaussian_classes


@pytest.fixture(scope="module")
def data() -> TensorData:
    return gaussian_classes(20_000)


@pytest.fixture(scope="module")
def prior(data: TensorData) -> Prior:
    return exact_prior(data)
