"""Fixtures of the tests of extensions."""

from tests.cli.conftest import call, run
from tests.pictures.conftest import show
from tests.words import words

__all__ = ["call", "run", "show", "words"]
