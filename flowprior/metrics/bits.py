"""Negative log-likelihood of real data under a flow, in bits per dimension.

For data of L levels (pictures of 8 bits: L = 256) the density is evaluated at uniformly dequantised points,
x = 2 (level + u) / L − 1 with u ~ U[0, 1), and turned into a bound on the discrete likelihood

    bits = −log2 p(x | c) / D + log2(L / 2)

(Theis et al. 2016, arXiv 1511.01844, sec. 3.1). Data without levels give the density's −log2 p(x | c) / D, in
the units of the data, which may be negative.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from flowprior.flow import Flow

KNOWN_LEVELS = (2, 17, 256)
"""Two values, scikit-learn's digits, 8 bits."""
EXACT_UP_TO = 16
"""Numbers of an event up to which the divergence is exact; above, Hutchinson's estimate of one probe."""


def bits_per_dimension(
    flow: Flow,
    x: Tensor,
    cond: Tensor | None = None,
    *,
    levels: int | None = None,
    generator: torch.Generator | None = None,
    **options: Any,
) -> Tensor:
    """Bits per dimension of x, float64 ``[B]``.

    Args:
        flow: scored by :meth:`flowprior.Flow.log_prob`.
        x: data ``[B, *event]``, in [-1, 1] where they have levels.
        cond: their conditions.
        levels: L; None takes x as it is.
        generator: of the dequantisation and of the probes, on the device of x.
        options: of :meth:`flowprior.Flow.log_prob`. By default the divergence is exact up to 16 numbers an
            event, above it is Hutchinson's estimate, which is unbiased for the bits.
    """
    dim = math.prod(x.shape[1:])
    points = x if levels is None else dequantise(x, levels, generator)
    options.setdefault("divergence", choose_divergence(dim))
    nats = flow.log_prob(points, cond, generator=generator, **options).double()
    return -nats / (dim * math.log(2)) + (0.0 if levels is None else math.log2(levels / 2))


def dequantise(x: Tensor, levels: int, generator: torch.Generator | None = None) -> Tensor:
    """x of equally spaced levels in [-1, 1], each spread evenly over its L-th of [-1, 1]."""
    level = ((x + 1) / 2 * (levels - 1)).round()
    noise = torch.rand(x.shape, generator=generator, dtype=x.dtype, device=x.device)
    return 2 * (level + noise) / levels - 1


def levels_of(x: Tensor) -> int | None:
    """The fewest of 2, 17 or 256 equally spaced levels in [-1, 1] that hold every number of x; else None."""
    if len(x) == 0 or x.abs().max() > 1 + 1e-6:
        return None
    for levels in KNOWN_LEVELS:
        place = (x.double() + 1) / 2 * (levels - 1)
        if (place - place.round()).abs().max() < 1e-3:
            return levels
    return None


def choose_divergence(dim: int) -> str:
    """``"exact"`` for small events, ``"hutchinson"`` for others."""
    return "exact" if dim <= EXACT_UP_TO else "hutchinson"
