"""How well a prior's own draws foretell held-out events: the energy score (Gneiting & Raftery 2007, eq. 22).

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
from flowprior.priors import Prior

MOST_ROWS = 500
"""Held-out events that are foretold."""
DRAWS, LEAST_MEMBERS, MOST_MEMBERS = 16_000, 20, 200
"""Draws for all of them together, and for each: with 20 for each of 80 biopsies chance chose the prior."""
MOST_NUMBERS = 1 << 24
"""Numbers of draws that are held at once."""


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
    truth = examples.held_out[:MOST_ROWS].flatten(1)
    count = max(LEAST_MEMBERS, min(MOST_MEMBERS, DRAWS // len(truth)))
    at_once = max(1, MOST_NUMBERS // (count * truth.shape[1]))
    parts = torch.arange(len(truth)).split(at_once)
    scores = [
        _scores(prior, truth[rows], take(examples.held_out_cond, rows), count, generator) for rows in parts
    ]
    return float(torch.cat(scores).mean())


def _scores(
    prior: Prior, truth: Tensor, cond: Conditions | None, count: int, generator: torch.Generator
) -> Tensor:
    """The energy score of ``count`` draws for each held-out event ``[B, D]``, ``[B]``."""
    drawn = prior.sample(repeated(cond, count), count * len(truth), generator=generator)
    members = drawn.flatten(1).double().cpu().reshape(len(truth), count, -1)
    error = torch.linalg.vector_norm(members - truth.double()[:, None], dim=-1).mean(1)
    between = torch.cdist(members, members, compute_mode="donot_use_mm_for_euclid_dist").sum((1, 2))
    return error - between / (2 * count * (count - 1))
