"""The command line, for tests of what an evaluation leaves in a model card."""

from __future__ import annotations

from tests.cli.conftest import call

__all__ = ["call"]
