"""Copies: a law is fitted on one half of the data; are its draws nearer to that half than to the other?

A law that has learned what is common to both halves draws as near to one as to the other, whatever else its
faults; a law that repeats its rows, or lies too closely around them, draws near its own half.
"""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 512


def nearer_share(x: Tensor, own: Tensor, other: Tensor) -> float:
    """Share of the rows x ``[n, D]`` whose nearest row of ``own`` ``[M, D]`` is nearer than ``other``'s.

    Ties count half; 0.5 where the two are alike to x, 1 where x are copies of ``own``. Both halves need as
    many rows, or the larger one is nearer by chance; of no rows, 0.5.
    """
    if not len(x) or not len(own) or not len(other):
        return 0.5
    centre = own.mean(0)  # about which the product form of distances is accurate
    x, own, other = x - centre, own - centre, other - centre
    gaps = [_nearest(part, other) - _nearest(part, own) for part in x.split(CHUNK)]
    sign = torch.cat(gaps).sign()
    return 0.5 + 0.5 * float(sign.double().mean())


def _nearest(x: Tensor, rows: Tensor) -> Tensor:
    """Squared distance ``[n]`` to the nearest row; of exact differences, so that a copy's is 0."""
    winners = rows[torch.cdist(x, rows).argmin(1)]
    return (x - winners).square().sum(1)
