"""How well a prior's own draws foretell held-out events: the energy score (Gneiting & Raftery 2007, eq. 22).

It is proper, so that the law of the data has the least; it asks for no density, sees whether the numbers of
an event go together, and compares priors of different kinds in the units of the event. Under the coupling
``posterior`` a flow keeps most of what its prior has, so priors of one kind are told apart by it in seconds.
"""

from __future__ import annotations

import torch

from flowprior.conditions import rows as take
from flowprior.inspection.examples import Examples
from flowprior.priors import Prior

MOST_ROWS = 500
"""Held-out events that are foretold."""
DRAWS, LEAST_MEMBERS, MOST_MEMBERS = 16_000, 20, 200
"""Draws for all of them together, and for each: with 20 for each of 80 biopsies chance chose the prior."""


@torch.no_grad()
def held_out_score(prior: Prior, examples: Examples, generator: torch.Generator) -> float:
    """E‖X − y‖ − ½ E‖X − X'‖, X drawn under the condition of a held-out event y; less is better.

    Args:
        prior: fitted on ``examples.x``.
        examples: events that it has not seen, and their conditions.
        generator: of the draws.

    Raises:
        InputError: the prior cannot serve a condition.
    """
    truth = examples.held_out[:MOST_ROWS].flatten(1).double()
    count = max(LEAST_MEMBERS, min(MOST_MEMBERS, DRAWS // len(truth)))
    repeated = torch.arange(len(truth)).repeat_interleave(count)
    drawn = prior.sample(take(examples.held_out_cond, repeated), len(repeated), generator=generator)
    members = drawn.flatten(1).double().cpu().reshape(len(truth), count, -1)
    error = torch.linalg.vector_norm(members - truth[:, None], dim=-1).mean()
    between = torch.cdist(members, members, compute_mode="donot_use_mm_for_euclid_dist").sum((1, 2)).mean()
    return float(error - between / (2 * count * (count - 1)))
