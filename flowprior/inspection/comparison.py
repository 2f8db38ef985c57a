"""Priors compared by how well they foretell held-out rows, with the standard error of the difference.

Of a few rows chance alone makes one prior look a little better than another. So priors stand in the order of
how safe they are, and a later one takes the place of an earlier one only where it is better by more than a
standard error of the paired differences: the rule of one standard error (Breiman, Friedman, Olshen & Stone
1984, section 3.4.3), with pairs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from flowprior.inspection.examples import Examples
from flowprior.inspection.held_out_score import held_out_scores
from flowprior.priors import Prior

ENOUGH_ROWS = 500
"""Held-out rows after which no further fold is looked at."""
STANDARD_ERRORS = 1.0

Scores = Mapping[str, Tensor]
"""Spec of a prior -> its energy score for each held-out row, ``[N]``, the rows of all in the same order."""


class Lead(NamedTuple):
    """By how much one prior's mean score is less than another's, and the standard error of that."""

    gain: float
    error: float


def compare_priors(specs: Sequence[str], folds: Iterable[Examples], seed: int) -> dict[str, Tensor]:
    """The scores of each prior, fitted anew to each fold until 500 rows have been held out.

    Args:
        specs: of priors that can serve the condition.
        folds: of the data.
        seed: of each fit and its draws.
    """
    found: dict[str, list[Tensor]] = {spec: [] for spec in specs}
    for examples in folds:
        for spec in specs:
            generator = torch.Generator().manual_seed(seed)
            prior: Prior = Prior.registry.resolve(spec)
            prior.fit((examples.x, examples.cond), generator=generator)
            found[spec].append(held_out_scores(prior, examples, generator))
        if sum(map(len, found[specs[0]])) >= ENOUGH_ROWS:
            break
    return {spec: torch.cat(scores) for spec, scores in found.items()}


def lead_over(scores: Tensor, others: Tensor) -> Lead:
    """Of a prior with ``scores`` ``[N]`` over one with ``others``; positive where it foretells better."""
    gains = others - scores
    return Lead(float(gains.mean()), float(gains.std()) / math.sqrt(len(gains)))


def best_for_sure(scores: Scores) -> str:
    """The first prior; or one after it that is surely better, or one after that which is better still."""
    held, *others = scores
    for spec in others:
        gain, error = lead_over(scores[spec], scores[held])
        if gain > STANDARD_ERRORS * error:
            held = spec
    return held
