"""Digits, their classifier in a cache of this session, and a flow trained for a moment."""

from __future__ import annotations

import pytest

from flowprior.data import Data, load_data
from flowprior.features import Classifier, data_classifier
from flowprior.flow import Flow
from flowprior.training import train


@pytest.fixture(scope="session")
def digits() -> tuple[Data, Data]:
    """Training and test split."""
    return load_data("digits"), load_data("digits", "test")


@pytest.fixture(scope="session")
def classifier(digits: tuple[Data, Data]) -> Classifier:
    """The classifier of the digits, trained once."""
    return data_classifier(digits[0], cache=False)


@pytest.fixture(scope="session")
def tiny_flow(digits: tuple[Data, Data]) -> Flow:
    """A few steps of a small network; the prior does most of the work."""
    return train(
        digits[0], prior="gmm", coupling="condot", model="mlp:width=32", steps=20, batch_size=32, device="cpu"
    )
