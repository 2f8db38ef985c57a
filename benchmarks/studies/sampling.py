"""Samples of a flow at any number of evaluations; at none they are the source samples, the prior alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flowprior.flow import Flow


def draw_samples(
    flow: Flow,
    labels: Tensor | None,
    nfe: int,
    *,
    count: int | None = None,
    generator: torch.Generator,
    **options: Any,
) -> Tensor:
    """Samples ``[N, *event]``, from the same source samples at every ``nfe``.

    Args:
        flow: is sampled from.
        labels: one condition for each sample; None for a flow without.
        nfe: evaluations of the network; 0 leaves the source samples as they are.
        count: number of samples, where ``labels`` does not say.
        generator: source of the source samples.
        options: more for :meth:`flowprior.flow.Flow.sample`, such as ``sampler``.
    """
    if nfe == 0:
        return flow.coupling.source(flow.prior, labels, count, generator=generator).float()
    return flow.sample(labels, count, nfe=nfe, generator=generator, **options)
