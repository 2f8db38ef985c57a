"""The leading principal axes of rows, in which inspections look at events of many numbers."""

from __future__ import annotations

import torch
from torch import Tensor

MOST_DIMENSIONS = 64


def principal_axes(x: Tensor) -> Tensor:
    """Leading principal directions ``[D, d]`` of rows x ``[n, D]``, d at most 64 and a quarter of n."""
    centred = x - x.mean(0)
    count = max(1, min(MOST_DIMENSIONS, len(x) // 4, x.shape[1]))
    if len(x) >= x.shape[1]:
        return torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -count:].flip(1)
    left = torch.linalg.eigh(centred @ centred.T).eigenvectors[:, -count:].flip(1)
    return torch.linalg.qr(centred.T @ left).Q
