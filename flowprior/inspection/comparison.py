"""Priors compared by how well they foretell held-out rows, with the standard error of the difference.

Of a few rows chance alone makes one prior look a little better than another. So priors stand in the order of
how safe they are, and a later one takes the place of an earlier one only where it is better by more than a
standard error of the paired differences: the rule of one standard error (Breiman, Friedman, Olshen & Stone
1984, section 3.4.3), with pairs.

The rows that a prior is fitted to are as much of a sample as those that are held out, and folds share them.
So the error of a mean over M held-out rows, from fits to n rows each, is s √(1/M + 1/n), s the deviation of
the differences: the corrected error of resampling (Nadeau & Bengio 2003).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from flowprior.inspection.examples import Examples
from flowprior.inspection.held_out_score import held_out_scores
from flowprior.priors import Prior

ENOUGH_ROWS = 500
"""Held-out rows after which no further fold is looked at."""
STANDARD_ERRORS = 1.0


def design_name(prior: str, coupling: str) -> str:
    """What a design is called among scores of flows: ``PRIOR + COUPLING``."""
    return f"{prior} + {coupling}"


class Lead(NamedTuple):
    """By how much one prior's mean score is less than another's, and the standard error of that."""

    gain: float
    error: float

    def is_sure(self, errors: float = STANDARD_ERRORS) -> bool:
        """Whether it is more than so many standard errors."""
        return self.gain > errors * self.error


@dataclass(frozen=True)
class Comparison:
    """Scores of some priors, or of flows, for the same held-out rows, in the same order; less is better.

    Attributes:
        scores: spec of a prior -> its energy scores ``[M]`` of M rows; or a flow's design -> pseudo-values
            of its distance from M parts of them.
        fitted: rows that each fit had, or parts of that size.
    """

    scores: dict[str, Tensor]
    fitted: int

    def mean(self, spec: str) -> float:
        return float(self.scores[spec].mean())

    def lead(self, spec: str, other: str) -> Lead:
        """Of one prior over another; positive where it foretells better."""
        gains = self.scores[other] - self.scores[spec]
        error = float(gains.std()) * math.sqrt(1 / len(gains) + 1 / self.fitted)
        return Lead(float(gains.mean()), error)

    def best_for_sure(self, specs: Sequence[str]) -> str:
        """The first prior; or one after it that is surely better, or one after that which is better still."""
        held, *others = specs
        for spec in others:
            if self.lead(spec, held).is_sure():
                held = spec
        return held


def compare_priors(specs: Sequence[str], folds: Iterable[Examples], seed: int) -> Comparison:
    """The scores of each prior, fitted anew to each fold until 500 rows have been held out.

    Args:
        specs: of priors that can serve the condition.
        folds: of the data, at least one.
        seed: of each fit and its draws.
    """
    found: dict[str, list[Tensor]] = {spec: [] for spec in specs}
    fitted = 0
    for examples in folds:
        fitted = len(examples.x)
        for spec in specs:
            generator = torch.Generator().manual_seed(seed)
            prior: Prior = Prior.registry.resolve(spec)
            prior.fit((examples.x, examples.cond), generator=generator)
            found[spec].append(held_out_scores(prior, examples, generator))
        if sum(map(len, found[specs[0]])) >= ENOUGH_ROWS:
            break
    return Comparison({spec: torch.cat(scores) for spec, scores in found.items()}, fitted)
