"""``make test`` leaves the tests marked slow to CI and ``make test-all``: they stay few."""

from __future__ import annotations

import pytest

from tests.conftest import COLLECTED


def test_at_most_five_in_a_hundred_tests_are_marked_slow(request: pytest.FixtureRequest) -> None:
    tests, slow = request.config.stash[COLLECTED]
    if tests < 1000:
        pytest.skip(f"only {tests} tests were collected; the share is one of the whole suite")
    assert 0 < slow <= tests / 20
