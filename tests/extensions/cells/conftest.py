"""Fixtures of the tests of cells."""

from tests.cli.conftest import call, run

__all__ = ["call", "run"]
