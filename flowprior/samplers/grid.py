"""The time grids that fixed-step samplers share."""

from __future__ import annotations

import torch
from torch import Tensor

from flowprior.registry import choose

GRIDS = ("uniform", "cosine")


def time_grid(steps: int, grid: str = "uniform") -> Tensor:
    """Times 0 = t_0 < … < t_steps = 1, float64 ``[steps + 1]``.

    ``uniform`` has equal steps; ``cosine``, t = ½ (1 − cos πs) at equal s, has short steps at both
    ends, where the velocity of a flow between a wide and a narrow law changes fastest.

    Raises:
        OptionError: an unknown grid.
    """
    choose("time_grid", "grid", grid, GRIDS)
    s = torch.linspace(0.0, 1.0, steps + 1, dtype=torch.float64)
    return s if grid == "uniform" else 0.5 * (1.0 - torch.cos(torch.pi * s))
