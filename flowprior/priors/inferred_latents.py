"""Latents inferred from the data of a fit, as data to fit their own law to."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from flowprior.data.stream import Batch, CheckedBatches


class InferredLatents:
    """One latent for each datum, the same ones in every pass.

    Args:
        data: batches (x ``[B, D]``, condition).
        infer: from x, its condition and a generator to latents ``[B, r]`` and the condition of their law.
        seed: of the generator, at the beginning of each pass.
    """

    def __init__(
        self,
        data: CheckedBatches,
        infer: Callable[[Tensor, Tensor | None, torch.Generator], Batch],
        seed: int,
    ) -> None:
        self.data, self.infer, self.seed = data, infer, seed

    @torch.no_grad()
    def __iter__(self) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(self.seed)
        for x, cond in self.data:
            yield self.infer(x, cond, generator)
