"""Fixtures of the tests of extensions."""

from tests.pictures.conftest import show
from tests.words import words

__all__ = ["show", "words"]
