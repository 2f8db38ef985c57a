"""The finished comparison of tests/study, whose report is looked at."""

from __future__ import annotations

from tests.study.conftest import copied, finished

__all__ = ["copied", "finished"]
