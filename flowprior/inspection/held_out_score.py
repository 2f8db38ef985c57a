"""How well a prior's own draws foretell held-out events: their energy score, event by event.

It is proper, so that the law of the data has the least; it asks for no density, sees whether the numbers of
an event go together, and compares priors of different kinds in the units of the event. Under the coupling
``posterior`` a flow keeps most of what its prior has, so priors of one kind are told apart by it in seconds.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flowprior.conditions import Conditions, repeated
from flowprior.conditions import rows as take
from flowprior.inspection.examples import Examples
from flowprior.mixtures.ensembles import energy_score
from flowprior.priors import Prior

MOST_ROWS = 500
"""Held-out events that are foretold."""
DRAWS, LEAST_MEMBERS, MOST_MEMBERS = 16_000, 20, 200
"""Draws for all of them together, and for each: with 20 for each of 80 biopsies chance chose the prior."""
MOST_NUMBERS = 1 << 24
"""Numbers of draws that are held at once."""


@torch.no_grad()
def held_out_scores(prior: Prior, examples: Examples, generator: torch.Generator) -> Tensor:
    """E‖X − y‖ − ½ E‖X − X'‖ of each held-out event y, X drawn under its condition: float64 ``[M]``.

    Less is better. Of many events the first 500 are foretold.

    Args:
        prior: fitted on ``examples.x``.
        examples: events that it has not seen, and their conditions.
        generator: of the draws.

    Raises:
        InputError: the prior cannot serve a condition.
    """
    truth = examples.held_out[:MOST_ROWS].flatten(1)
    count = max(LEAST_MEMBERS, min(MOST_MEMBERS, DRAWS // len(truth)))
    at_once = max(1, MOST_NUMBERS // (count * truth.shape[1]))
    parts = torch.arange(len(truth)).split(at_once)
    drawn = (_draws(prior, take(examples.held_out_cond, rows), len(rows), count, generator) for rows in parts)
    return torch.cat([energy_score(members, truth[rows]) for members, rows in zip(drawn, parts, strict=True)])


def _draws(
    prior: Prior, cond: Conditions | None, events: int, count: int, generator: torch.Generator
) -> Tensor:
    """``count`` draws for each of some events, ``[events, count, D]``."""
    drawn = prior.sample(repeated(cond, count), count * events, generator=generator)
    return drawn.flatten(1).cpu().reshape(events, count, -1)
