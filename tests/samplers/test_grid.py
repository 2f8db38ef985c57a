from __future__ import annotations

import pytest
import torch

from flowprior.errors import OptionError
from flowprior.samplers import time_grid
from flowprior.samplers.fixed import GRIDS


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("steps", [1, 2, 7, 100])
def test_a_grid_runs_from_0_to_1_and_only_forward(grid: str, steps: int) -> None:
    times = time_grid(steps, grid)
    assert times.shape == (steps + 1,)
    assert times[0] == 0.0
    assert times[-1] == 1.0
    assert (times.diff() > 0).all()


def test_uniform_steps_are_equal() -> None:
    torch.testing.assert_close(time_grid(8).diff(), torch.full((8,), 0.125, dtype=torch.float64))


def test_cosine_steps_are_symmetric_and_short_at_both_ends() -> None:
    steps = time_grid(9, "cosine").diff()
    torch.testing.assert_close(steps, steps.flip(0))
    assert (steps[:4].diff() > 0).all()


def test_unknown_grid() -> None:
    with pytest.raises(OptionError, match="did you mean 'cosine'"):
        time_grid(3, "cosin")
