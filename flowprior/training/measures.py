"""The measures of a run: its source samples and pairs before the first step, its loss on held-out events.

The loss is measured at the same times and from the same source samples whenever it is asked for.
"""

from __future__ import annotations

from typing import Any

import torch

from flowprior.conditions.rows import pieces, rows
from flowprior.couplings import source_mismatch, transport_cost
from flowprior.data import Data
from flowprior.training.batches import PairStream, Randomness, fetch, probe_indices
from flowprior.training.loop import batch_loss
from flowprior.training.state import TrainingState

TIMES = 8
"""Times of the loss on held-out events."""
LOSS = "validation_loss"
EXAMPLES = 2048
"""The most training examples on which source samples and pairs are measured."""


class Validation:
    """Measures the averaged weights on events that no step sees.

    The loss is that of the training, but at the middles of eight equal parts of [0, 1], whatever the
    distribution of the training's times is, and without weights that follow the
    errors: event i of a fixed order is looked at at time i mod 8. Pairs are those of the
    coupling for new data, the same ones at every call, so that two values differ by their weights alone.

    Args:
        held: events that are held out.
        randomness: of the run.
    """

    def __init__(self, held: Data, randomness: Randomness) -> None:
        self.held, self.randomness = held, randomness
        self._order = torch.randperm(len(held), generator=Randomness(randomness.seed).generator("validation"))

    @torch.no_grad()
    def measure(self, state: TrainingState) -> dict[str, float]:
        """Return ``validation_loss``, and ``validation_loss_at_T`` at each time T that has events."""
        device, size = self.randomness.device, state.parts.coupling.draw_size(state.config.batch_size)
        sums = torch.zeros(TIMES, dtype=torch.float64, device=device)
        for number, indices in enumerate(self._order.split(size)):
            x1, cond = fetch(self.held, indices, device)
            generator = self.randomness.generator("validation", number)
            x0, x1 = state.parts.coupling.pairs_of_new(state.parts.prior, x1, cond, generator=generator)
            for part in range(TIMES):
                every = slice((part - number * size) % TIMES, None, TIMES)
                x, c = x1[every], rows(cond, every)
                if len(x):
                    t = torch.full((len(x),), (part + 0.5) / TIMES, device=device)
                    loss = batch_loss(state, state.averaged, (x0[every], x, c), t)
                    sums[part] += len(x) * loss
        counts = torch.bincount(torch.arange(len(self.held)) % TIMES, minlength=TIMES)
        losses = {LOSS: float(sums.sum()) / len(self.held)}
        for part, (total, count) in enumerate(zip(sums.tolist(), counts.tolist(), strict=True)):
            if count:
                losses[f"{LOSS}_at_{(part + 0.5) / TIMES:g}"] = total / count
        return losses


def measure_starts(pairs: PairStream) -> dict[str, Any]:
    """Measure the source mismatch of training and sampling, and the transport cost with and without coupling.

    On up to 2,048 training examples; pairs are drawn as many at once as in training.

    Returns:
        ``starts_gap`` (:func:`flowprior.couplings.source_mismatch`), ``transport_cost`` E‖x1 − x0‖² of the
        coupled pairs, and ``transport_cost_unpaired`` of the same data with source samples drawn as for
        sampling.
    """
    seed, device = pairs.randomness.seed, pairs.randomness.device
    x1, cond = fetch(pairs.data, probe_indices(len(pairs.data), EXAMPLES, seed), device)
    generator = pairs.randomness.generator("measures")
    unpaired = pairs.coupling.source(pairs.prior, cond, len(x1), generator=generator)
    gap = source_mismatch(pairs.coupling, pairs.prior, x1, cond, generator=generator)
    conditions = pieces(cond, pairs.draw_size, len(x1))
    drawn = [
        pairs.coupling.pairs(pairs.prior, x, c, generator=generator)
        for x, c in zip(x1.split(pairs.draw_size), conditions, strict=True)
    ]
    return {
        "starts_gap": gap.as_dict(),
        "transport_cost": transport_cost(*map(torch.cat, zip(*drawn, strict=True))).item(),
        "transport_cost_unpaired": transport_cost(unpaired, x1).item(),
    }
