"""What a run measures before its first step: the gap of its source samples, and the cost of its pairs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flowprior.conditions import Conditions, pieces
from flowprior.couplings import source_gap, transport_cost
from flowprior.training.batches import PairStream, fetch, probe_indices

EXAMPLES = 2048


def measure_starts(pairs: PairStream) -> dict[str, Any]:
    """Gap between source samples of training and of sampling; transport cost with and without the coupling.

    Measured on up to 2,048 training examples; pairs are drawn as many at once as in training.

    Returns:
        ``starts_gap`` (see :func:`flowprior.couplings.source_gap`), ``transport_cost`` E‖x1 − x0‖² of the
        coupled pairs, and ``transport_cost_unpaired`` of the same data with source samples drawn as for
        sampling.
    """
    seed, device = pairs.randomness.seed, pairs.randomness.device
    x1, cond = fetch(pairs.data, probe_indices(len(pairs.data), EXAMPLES, seed), device)
    generator = pairs.randomness.generator("measures")
    unpaired = pairs.coupling.source(pairs.prior, cond, len(x1), generator=generator)
    return {
        "starts_gap": source_gap(pairs.coupling, pairs.prior, x1, cond, generator=generator).as_dict(),
        "transport_cost": transport_cost(*_drawn(pairs, x1, cond, generator)).item(),
        "transport_cost_unpaired": transport_cost(unpaired, x1).item(),
    }


def _drawn(
    pairs: PairStream, x1: Tensor, cond: Conditions | None, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """(x0, x1) of the coupled pairs, drawn as many at once as in training."""
    conditions = pieces(cond, pairs.draw_size, len(x1))
    drawn = [
        pairs.coupling.pairs(pairs.prior, x, c, generator=generator)
        for x, c in zip(x1.split(pairs.draw_size), conditions, strict=True)
    ]
    return torch.cat([x0 for x0, _ in drawn]), torch.cat([x for _, x in drawn])
