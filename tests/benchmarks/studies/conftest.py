"""Results that a study has left in a folder, an encoder for its captions, and a velocity of zero."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from flowprior.evaluation.result import Result
from tests.words import words

__all__ = ["Still", "cells_of", "words"]


def cells_of(folder: Path) -> dict[str, Result]:
    """label -> the values of its run."""
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("cells/*/result-*.json"))]
    return {cell["setting"]["label"]: Result(cell["rows"]) for cell in found}


class Still(torch.nn.Module):
    """No velocity: samples are source samples at every number of evaluations."""

    def forward(self, x: torch.Tensor, t: torch.Tensor, cond: torch.Tensor | None) -> torch.Tensor:
        assert len(x), "a network may refuse an empty batch"
        return torch.zeros_like(x)
