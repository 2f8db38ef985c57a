"""Scores of ensembles: several draws of one law against the one event that came.

ES(F, y) = E‖X − y‖ − ½ E‖X − X'‖ (Gneiting & Raftery 2007, eq. 22) is proper: the law of the events has the
least. With m draws the second mean is taken over the m (m − 1) pairs of different ones, so that no number of
draws is favoured (Ferro 2014, the fair score).
"""

from __future__ import annotations

import torch
from torch import Tensor


def energy_score(samples: Tensor, truth: Tensor) -> Tensor:
    """The fair score of each condition, in units of the event: float64 ``[n]``; less is better.

    Args:
        samples: ``[n, members, *event]``; of a single member its Euclidean error.
        truth: ``[n, *event]``.
    """
    samples, truth = samples.double().flatten(2), truth.double().flatten(1)
    error = torch.linalg.vector_norm(samples - truth[:, None], dim=-1).mean(1)
    return error - pairwise_mean(samples, 2) / 2 if samples.shape[1] > 1 else error


def pairwise_mean(samples: Tensor, distance: int | None) -> Tensor:
    """Mean over the pairs of different members of what ``torch.linalg.vector_norm`` of ``[…, D]`` gives.

    Args:
        samples: ``[n, members, D]``, two members or more.
        distance: 2 for the Euclidean distance, ``[n]``; None for that of each coordinate, ``[n, D]``.
    """
    members = samples.shape[1]
    total: Tensor | None = None
    for lag in range(1, members):
        apart = samples[:, lag:] - samples[:, :-lag]
        found = apart.abs() if distance is None else torch.linalg.vector_norm(apart, distance, dim=-1)
        total = found.sum(1) if total is None else total + found.sum(1)
    assert total is not None
    return 2 * total / (members * (members - 1))
