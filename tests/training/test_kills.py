"""Processes that are killed at random moments leave nothing behind and lose nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.kills import kill_often


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "kills"), [(1, 6), (2, 3)])
def test_kills_at_random_moments(processes: int, kills: int, tmp_path: Path) -> None:
    result = kill_often(tmp_path, kills, seed=1, steps=80, processes=processes)
    assert result["in_training"]
    assert result["leftovers_at_the_end"] == []
    assert result["equal"]
