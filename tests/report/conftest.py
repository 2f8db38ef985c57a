"""The finished comparison of tests/study, whose report is looked at, and the command line."""

from __future__ import annotations

from tests.cli.conftest import call
from tests.study.conftest import copied, finished

__all__ = ["call", "copied", "finished"]
