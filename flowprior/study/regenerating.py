"""Generate some of a file's samples anew from the saved flow, and compare them with those that were kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowprior.flow import Flow
from flowprior.samplers import Solution
from flowprior.study.recording import Replay

SAMPLE_TOLERANCE = 1e-3
"""Largest difference of any number of a sample, in standard deviations of the kept samples' numbers.

On the same machine with as many threads the samples are equal bit for bit. Elsewhere sums are rounded in
another order, which moves them by about 1e-6, with adaptive samplers by about 1e-4; a flow that is read as
another one moves them by about 1.
"""


class Regenerating:
    """A :class:`Replay` that also generates anew what took the fewest evaluations, and what took none.

    Args:
        flow: the saved flow.
        judged: what :func:`flowprior.study.judging.judge` returned.
        path: the file of samples.

    Attributes:
        samples: how many were generated anew.
        largest: largest difference of these, in standard deviations of the kept samples' numbers.
        left_out: why none were; empty where some were.

    Raises:
        CheckpointError: the file is missing or corrupted.
    """

    def __init__(self, flow: Flow, judged: dict[str, Any], path: Path | str) -> None:
        self._flow, self._replay = flow, Replay(path)
        self._batch_size = judged["settings"]["batch_size"]
        counts = [row["nfe"] for row in judged["rows"] if row["nfe"] > 0]
        self._chosen = {0, None if judged["adaptive"] else min(counts, default=0)}
        self.samples, self.largest = 0, 0.0
        self.left_out = _other_device(judged["settings"]["device"], flow)

    def __call__(
        self, cond: Tensor | None = None, n: int | None = None, *, nfe: int | None = None, **options: Any
    ) -> Solution:
        kept = self._replay(cond, n, nfe=nfe, **options)
        if nfe in self._chosen and not self.left_out:
            # In batches as then: their size decides in which order sums are rounded.
            anew = self._flow.solve(cond, n, nfe=nfe, **{**options, "batch_size": self._batch_size})
            self.samples += len(kept.x)
            self.largest = max(self.largest, sample_difference(kept.x, anew.x))
        return kept


def sample_difference(kept: Tensor, anew: Tensor) -> float:
    """Largest difference of two sets of samples ``[N, *event]`` in standard deviations of the first.

    Infinite where the shapes differ or a number is not finite.
    """
    kept, anew = kept.detach().cpu().double(), anew.detach().cpu().double()
    if kept.shape != anew.shape:
        return float("inf")
    if torch.equal(kept, anew):
        return 0.0
    spread = kept.std(correction=0).clamp_min(torch.finfo(torch.float32).tiny)
    largest = float((kept - anew).abs().max() / spread)
    return largest if largest == largest else float("inf")


def _other_device(written: str, flow: Flow) -> str:
    """Why samples cannot be drawn anew: another kind of device draws other random numbers."""
    here = flow.prior.event_dims.device.type
    kind = written.partition(":")[0]
    return "" if kind == here else f"they were drawn on {kind}, and {here} draws other random numbers"
