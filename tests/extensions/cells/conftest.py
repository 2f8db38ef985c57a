"""Fixtures of the tests of cells."""

from tests.cli.conftest import call

__all__ = ["call"]
