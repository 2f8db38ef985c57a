"""Fixtures of the tests of extensions."""

from tests.words import words

__all__ = ["words"]
