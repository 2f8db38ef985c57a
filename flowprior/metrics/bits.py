"""Negative log-likelihood of real data under a flow, in bits per dimension.

bits = −log2 p(x | c) / D of the density, in the units of the data. Of data with L levels, + log2(L / 2): a
bound on the discrete likelihood, at dequantised points (Theis et al. 2016, arXiv 1511.01844, sec. 3.1).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.conditions.rows import moved
from flowprior.flow import Flow
from flowprior.metrics.base import FlowMetric, Metric, MetricInfo
from flowprior.metrics.setup import SMALL_EVENT, Setup

KNOWN_LEVELS = (2, 17, 256)
"""The numbers of levels that are recognised: two values, scikit-learn's digits, 8 bits."""
EXACT_UP_TO = 16
"""The size of an event up to which the divergence is exact; above, Hutchinson's estimate of one probe."""
FEW_LIKELIHOODS, MANY_LIKELIHOODS = 64, 500
"""The number of real data that are scored, and that of small events."""
TOLERANCE = 1e-4
"""The relative and absolute tolerance of dopri5, which matters far less than the choice of data."""


def bits_per_dimension(
    flow: Flow,
    x: Tensor,
    cond: Conditions | None = None,
    *,
    levels: int | None = None,
    generator: torch.Generator | None = None,
    **options: Any,
) -> Tensor:
    """Return the bits per dimension of x, float64 ``[B]``.

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
    options.setdefault("divergence", divergence_for(dim))
    nats = flow.log_prob(points, cond, generator=generator, **options).double()
    return -nats / (dim * math.log(2)) + (0.0 if levels is None else math.log2(levels / 2))


def dequantise(x: Tensor, levels: int, generator: torch.Generator | None = None) -> Tensor:
    """Return x of equally spaced levels in [-1, 1], each spread evenly over its L-th of [-1, 1]."""
    level = ((x + 1) / 2 * (levels - 1)).round()
    noise = torch.rand(x.shape, generator=generator, dtype=x.dtype, device=x.device)
    return 2 * (level + noise) / levels - 1


def levels_of(x: Tensor) -> int | None:
    """Return the fewest of 2, 17 or 256 equally spaced levels in [-1, 1] that hold all of x; else None."""
    if len(x) == 0 or x.abs().max() > 1 + 1e-6:
        return None
    for levels in KNOWN_LEVELS:
        place = (x.double() + 1) / 2 * (levels - 1)
        if (place - place.round()).abs().max() < 1e-3:
            return levels
    return None


def divergence_for(dim: int) -> str:
    """Return ``"exact"`` for small events, ``"hutchinson"`` for others."""
    return "exact" if dim <= EXACT_UP_TO else "hutchinson"


@Metric.register("nll")
class Likelihood(FlowMetric):
    """Negative log-likelihood of real data in bits per dimension; the most expensive of the metrics."""

    def lacks(self, setup: Setup) -> str:
        return "a flow of the data themselves; this one has a density of their latents"

    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        if setup.flow.encoder is not None and not setup.flow.encoder.keeps_density:
            return {}
        x, _ = self._scored(setup)
        levels = levels_of(x)
        scale = "of the density, no dequantisation" if levels is None else f"dequantised from {levels} levels"
        solved = f"{divergence_for(setup.flow.event_shape.numel())} divergence, dopri5 to {TOLERANCE:g}"
        description = f"negative log-likelihood in bits per dimension, {scale}, {solved}"
        return {"nll_bits": MetricInfo(description, len(x), setup.reference.describe(len(x)), "lower")}

    def values(self, setup: Setup, guidance: float) -> dict[str, float]:
        x, cond = self._scored(setup)
        bits = bits_per_dimension(
            setup.flow,
            x.to(setup.device, setup.flow.dtype or x.dtype),
            moved(cond, setup.device),
            levels=levels_of(x),
            generator=setup.generator(),
            guidance=guidance,
            batch_size=setup.batch_size,
            rtol=TOLERANCE,
            atol=TOLERANCE,
        )
        return {"nll_bits": bits.mean().item()}

    def _scored(self, setup: Setup) -> tuple[Tensor, Conditions | None]:
        small = setup.flow.event_shape.numel() <= SMALL_EVENT
        return setup.reference.subset(MANY_LIKELIHOODS if small else FEW_LIKELIHOODS)
