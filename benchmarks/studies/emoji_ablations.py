"""How much the pictures of one caption differ: what a narrow prior costs.

values = "benchmarks.studies.emoji_ablations:spread_within_captions"
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from benchmarks.studies import Row, draw, everything, rows_of
from flowprior.evaluation.result import REAL_DATA
from flowprior.flow import Flow

NFES = (0, 1, 4, 15)
CAPTIONS, EACH = 100, 8
"""Captions of the test split, and samples of each; real pictures are as many as the training split has."""
SPREAD = "spread_within_caption"


def spread_within_captions(flow: Flow, cell: Any, data: Any) -> list[Row]:
    """Root mean square of pictures about their caption's mean, of numbers clamped to [-1, 1], by NFE.

    Over the captions of the test split of which the training split has two pictures or more, the first 100.
    """
    x, cond = everything(data.train)
    _, asked = everything(data.test)
    known, group = cond.unique(dim=0, return_inverse=True)
    several = group.bincount() > 1
    captions = known[several & (known[:, None] == asked.unique(dim=0)[None]).all(2).any(1)][:CAPTIONS]
    own = [x[(cond == caption).all(1)] for caption in captions]
    shared = {"split": "test", "samples": len(captions) * EACH}
    rows = rows_of({SPREAD: spread(own)}, flow=REAL_DATA, **shared)
    for nfe in NFES:
        drawn = draw(flow, captions.repeat_interleave(EACH, dim=0), nfe, cell.seed)
        found = spread(list(drawn.clamp(-1, 1).split(EACH)))
        rows += rows_of({SPREAD: found}, nfe=nfe, sampler="euler", **shared)
    return rows


def spread(groups: list[Tensor]) -> float:
    """Root of the mean over groups of their variance a number, unbiased; each group ``[n, *event]``."""
    variances = [group.flatten(1).var(0).mean().item() for group in groups]
    return math.sqrt(math.fsum(variances) / len(variances))
