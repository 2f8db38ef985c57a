"""Samples of a flow to be shown or measured: drawn from a seed, checked, and the prior's mean beside them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flowprior.conditions import Conditions, moved
from flowprior.errors import InputError
from flowprior.flow.flow import Flow
from flowprior.samplers import Solution

AT_ONCE = 500
"""Samples that are solved at once."""


def draw(flow: Flow, cond: Conditions | None, n: int | None, *, seed: int, **options: Any) -> Solution:
    """Samples with a generator of their own; one seed gives one set of source samples, whatever ``nfe``."""
    generator = torch.Generator(flow.prior.event_dims.device).manual_seed(seed)
    solution = flow.solve(cond, n, generator=generator, batch_size=AT_ONCE, **options)
    check_samples(solution.x, "sample")
    return solution


def check_samples(x: Tensor, owner: str) -> None:
    """Refuse samples ``[N, *event]`` that are not finite.

    Raises:
        InputError: how many are not; ``owner`` is named.
    """
    bad = int((~torch.isfinite(x)).flatten(1).any(1).sum())
    if bad:
        raise InputError(
            f"{owner}: {bad} of {len(x)} generated samples have NaN or infinite numbers; use less guidance "
            "or a lower temperature, or train with a smaller learning rate"
        )


def prior_means(flow: Flow, cond: Conditions | None) -> Tensor:
    """The prior's mean for each condition, as events ``[B, *event]``; one without a condition."""
    device = flow.prior.event_dims.device
    return flow.decode(flow.prior.mean(None, 1) if cond is None else flow.prior.mean(moved(cond, device)))
