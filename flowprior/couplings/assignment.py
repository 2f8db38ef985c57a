"""Pairings of equally many source samples and data: the optimal one, or one that follows a plan."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

EMPTY = -1e4
"""Log-mass given to empty entries: far below any other, so that they are used only where they must be."""


def assign(cost: Tensor) -> Tensor:
    """Permutation ``[B]`` int64 on the CPU that minimises Σ_i cost[i, permutation[i]], cost ``[B, B]``.

    With uniform weights an optimal plan is a permutation (Birkhoff), so scipy's assignment
    (Crouse 2016) gives what POT's network simplex gives, faster. Taking the least of each row, then of
    each column, off the cost leaves the minimiser alone and makes the search about four times shorter.
    """
    from scipy.optimize import linear_sum_assignment

    matrix = cost.cpu().numpy()
    if not matrix.size:
        return torch.arange(0)
    reduced = matrix - matrix.min(1, keepdims=True)
    reduced -= reduced.min(0)
    _, columns = linear_sum_assignment(reduced)
    return torch.from_numpy(columns.astype(np.int64, copy=False))


def round_plan(log_plan: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """A random permutation ``[B]`` that follows the plan, from its logarithm ``[B, B]``.

    Perturb-and-MAP (Papandreou & Yuille 2011): the assignment that maximises Σ_i (log P + G)[i, π(i)]
    with standard Gumbel noise G. Without the constraint each row would be drawn exactly from the plan
    (Gumbel-max); with it every source sample is used once, where drawing with replacement keeps only
    63 % of them. Factors of rows and columns of P, such as Sinkhorn's scalings, do not change the result.

    Args:
        log_plan: float64, −inf where the plan is empty.
        generator: source of the noise, on any device.
    """
    device = generator.device if generator is not None else torch.device("cpu")
    exponential = torch.empty(log_plan.shape, dtype=torch.float64, device=device)
    exponential.exponential_(generator=generator)
    gumbel = -exponential.cpu().clamp_min(1e-300).log()
    return assign(-(log_plan.clamp_min(EMPTY) + gumbel))
