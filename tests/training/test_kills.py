"""Processes that are killed at random moments leave nothing behind and lose nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.kills import kill_often


@pytest.mark.slow
def test_kills_at_random_moments(tmp_path: Path) -> None:
    result = kill_often(tmp_path, kills=6, seed=1, steps=80)
    assert result["in_training"]
    assert result["leftovers_at_the_end"] == []
    assert result["equal"]
