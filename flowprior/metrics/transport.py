"""Transport cost E‖x1 − x0‖² of training pairs, with the coupling and without."""

from __future__ import annotations

import torch

from flowprior.conditions import moved
from flowprior.couplings import transport_cost
from flowprior.data.base import Data
from flowprior.data.splits import draw_indices
from flowprior.flow import Flow

TRAINING_BATCH = 256
"""Pairs are drawn as for training batches of this size: minibatch couplings depend on it."""


def measure_transport(
    flow: Flow, data: Data, pairs: int, *, generator: torch.Generator | None = None
) -> dict[str, float]:
    """Cost of at most ``pairs`` training pairs, drawn as training draws them.

    Args:
        flow: prior and coupling are used, the velocity model is not.
        data: the training split.
        pairs: at most this many, and no more than there are data.
        generator: of the source samples, on the prior's device.

    Returns:
        ``paired`` by ``coupling.pairs``, where all is here that they are made of; ``unpaired`` with source
        samples of the prior under each datum's condition; ``pairs``, and ``draw_size``: how many were drawn
        at once.
    """
    device = flow.prior.event_dims.device
    seed = 0 if generator is None else generator.initial_seed()
    indices = draw_indices(data, min(pairs, len(data)), torch.Generator().manual_seed(seed))
    size = flow.coupling.draw_size(TRAINING_BATCH)
    can_pair = flow.coupling.can_pair
    if can_pair:
        _fit_where_needed(flow, data, seed)
    paired = unpaired = 0.0
    for part in indices.split(size):
        x1, cond = data.batch(part)
        x1, cond = flow.encode(x1.to(device)), moved(cond, device)
        x0 = flow.prior.sample(cond, len(x1), generator=generator)
        unpaired += transport_cost(x0, x1).item() * len(part)
        if can_pair:
            coupled = flow.coupling.pairs(flow.prior, x1, cond, generator=generator)
            paired += transport_cost(*coupled).item() * len(part)
    count = len(indices)
    costs = {"paired": paired / count} if can_pair else {}
    return {**costs, "unpaired": unpaired / count, "pairs": count, "draw_size": size}


def _fit_where_needed(flow: Flow, data: Data, seed: int) -> None:
    """Fit a coupling that has to know all data, and that a loaded flow has not fitted."""
    if flow.coupling.is_fitted:
        return
    device = flow.prior.event_dims.device
    batches = [(flow.encode(x1.to(device)), moved(cond, device)) for x1, cond in data.batches()]
    generator = torch.Generator(device).manual_seed(seed)
    flow.coupling.fit(flow.prior, batches, generator=generator)
