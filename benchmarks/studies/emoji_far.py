"""How sure flows are of captions far from those trained on: the spread of samples by a caption's distance.

values = "benchmarks.studies.emoji_far:spread_by_distance"
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import benchmarks.data_sets.tuxpaint  # noqa: F401  (registers the data set that the study names)
from benchmarks.studies import Row, draw, everything, rows_of
from benchmarks.studies.emoji_ablations import CAPTIONS, EACH, SPREAD, spread
from flowprior.flow import Flow
from flowprior.priors.distinct import nearest

NFES = (0, 15)
DISTANCE = "distance_to_training_captions"
NONSENSE = "nonsense"
"""Captions that are none: embeddings in random directions."""


def spread_by_distance(flow: Flow, cell: Any, data: Any) -> list[Row]:
    """Of captions of each split: how far from those trained on, and how much the samples of one differ.

    Distances are means over captions of that to the nearest training caption's embedding; spreads are the
    root mean square about their caption's mean, of numbers clamped to [-1, 1].
    """
    known = everything(data.train)[1].unique(dim=0)
    splits = {"test": data.test, **data.references}
    asked = {name: some_captions(everything(part)[1], cell.seed) for name, part in splits.items()}
    asked[NONSENSE] = random_directions(known, cell.seed)
    rows: list[Row] = []
    for split, captions in asked.items():
        shared = {"split": split, "samples": len(captions) * EACH}
        distance = nearest(captions, known, 1)[0].mean().item()
        rows += rows_of({DISTANCE: distance}, nfe=0, sampler="euler", **shared)
        for nfe in NFES:
            drawn = draw(flow, captions.repeat_interleave(EACH, dim=0), nfe, cell.seed).clamp(-1, 1)
            rows += rows_of({SPREAD: spread(list(drawn.split(EACH)))}, nfe=nfe, sampler="euler", **shared)
    return rows


def some_captions(cond: Tensor, seed: int) -> Tensor:
    """At most ``CAPTIONS`` distinct ones of the embeddings ``[N, E]``, at random."""
    distinct = cond.unique(dim=0)
    order = torch.randperm(len(distinct), generator=torch.Generator().manual_seed(seed))
    return distinct[order[:CAPTIONS]]


def random_directions(known: Tensor, seed: int) -> Tensor:
    """``CAPTIONS`` embeddings of the mean length of ``known`` ``[N, E]``, in directions that mean nothing."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(CAPTIONS, known.shape[1], generator=generator)
    return torch.nn.functional.normalize(directions) * known.norm(dim=1).mean()
