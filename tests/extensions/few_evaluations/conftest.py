"""Fixtures of the tests of few evaluations: data whose pairs are jointly Gaussian, and their prior."""

from tests.flow.conftest import data, prior

__all__ = ["data", "prior"]
