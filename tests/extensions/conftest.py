"""Fixtures of the tests of extensions."""

from tests.cli.conftest import call, run
from tests.words import words

__all__ = ["call", "run", "words"]
