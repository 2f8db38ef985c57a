"""Neighbours and bandwidth of a kernel mean: those of the least error on rows that were left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from flowprior.priors.representatives import Neighbours, kernel_weights

BANDWIDTHS = 10
"""Values of the bandwidth that are tried."""
NARROWEST, WIDEST = 0.125, 4.0
"""Least and most of them, as shares of the median distance to the nearest other condition."""
CHUNK = 1 << 24
"""Numbers of predictions that are held at once."""


class LeftOutRows(Protocol):
    """Rows, their neighbours without them, and what that changes; see :mod:`flowprior.priors.kernel_mean`."""

    @property
    def x(self) -> Tensor: ...
    @property
    def near(self) -> Neighbours: ...
    @property
    def change(self) -> Tensor | None: ...


def choose_kernel(
    means: Tensor,
    apart: Sequence[LeftOutRows],
    beside: Sequence[LeftOutRows],
    neighbours: int | None,
    bandwidth: float | None,
) -> tuple[int, float]:
    """Number of neighbours and bandwidth.

    The error is the mean square on rows whose condition is left out, plus that on rows that alone are left
    out, where there are some.

    Args:
        means: mean events of the representatives, ``[M, D]``.
        apart: rows whose condition is left out.
        beside: rows that are left out of their condition.
        neighbours: the number, where it is given.
        bandwidth: the bandwidth, where it is given.
    """
    most = apart[0].near.place.shape[1]
    distance = torch.cat([part.near.distance[:, :1] for part in apart]).flatten()
    typical = float(distance[distance > 0].median()) if bool((distance > 0).any()) else 1.0
    counts = [neighbours] if neighbours else sorted({1 << i for i in range(8) if 1 << i <= most} | {1})
    steps = torch.logspace(0, 1, BANDWIDTHS, base=WIDEST / NARROWEST).tolist()
    widths = [bandwidth] if bandwidth else [NARROWEST * step * typical for step in steps]
    if not most or len(counts) * len(widths) == 1:
        return counts[0], widths[-1]
    error = sum(_errors(means, group, counts, widths) for group in (apart, beside) if group)
    assert isinstance(error, Tensor)
    best = int(error.argmin())
    return counts[best // len(widths)], widths[best % len(widths)]


def _errors(means: Tensor, group: Sequence[LeftOutRows], counts: list[int], widths: list[float]) -> Tensor:
    """Mean square error of each pair of a count and a width, ``[counts · widths]``, float64."""
    total, rows = torch.zeros(len(counts) * len(widths), dtype=torch.float64), 0
    for part in group:
        step = max(1, CHUNK // (means.shape[1] * (part.near.place.shape[1] + len(total))))
        for i in range(0, len(part.x), step):
            piece = slice(i, i + step)
            near = Neighbours(*(column[piece] for column in part.near))
            share = torch.stack([_cut_weights(near, k, h) for k in counts for h in widths], 1)
            residual = part.x[piece, None] - share @ means[near.place]
            if part.change is not None:
                residual = residual - share[:, :, :1] * part.change[piece, None]
            total += residual.square().mean(2).sum(0, dtype=torch.float64).cpu()
            rows += len(residual)
    return total / rows


def _cut_weights(near: Neighbours, count: int, bandwidth: float) -> Tensor:
    """Shares ``[B, K]`` of the first ``count`` neighbours; 0 for the others."""
    first = Neighbours(*(column[:, :count] for column in near))
    spare = near.place.shape[1] - first.place.shape[1]
    return torch.nn.functional.pad(kernel_weights(first, bandwidth), (0, spare))
