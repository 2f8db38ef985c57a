"""What is measured of prior and coupling before the first step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

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
        "transport_cost": transport_cost(_drawn(pairs, x1, cond, generator), x1).item(),
        "transport_cost_unpaired": transport_cost(unpaired, x1).item(),
    }


def _drawn(pairs: PairStream, x1: Tensor, cond: Tensor | None, generator: torch.Generator) -> Tensor:
    conditions = [None] * len(x1) if cond is None else cond.split(pairs.draw_size)
    rows = x1.split(pairs.draw_size)
    drawn = [
        pairs.coupling.draw(pairs.prior, x, c, generator=generator)
        for x, c in zip(rows, conditions, strict=False)
    ]
    return torch.cat(drawn)
