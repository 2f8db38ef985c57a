"""Fixtures of the tests of data."""

from tests.words import words

__all__ = ["words"]
