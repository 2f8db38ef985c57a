"""Made data for the operators: a mixture for each of ten conditions and a batch, in float32."""

from __future__ import annotations

from dataclasses import dataclass

import torch

CONDITIONS = 10
PAIRS = [(256, 3072), (512, 784)]
MIXTURES = [(batch, dim, components) for batch, dim in PAIRS for components in (1, 8)]


@dataclass
class Problem:
    """Tables of a mixture ``[conditions, components(, dim)]``, labels and data ``[batch, dim]``."""

    batch: int
    dim: int
    components: int = 1

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        table = (CONDITIONS, self.components, self.dim)
        self.logits = torch.randn(table[:2], generator=generator)
        self.mean = torch.randn(table, generator=generator)
        self.scale = torch.rand(table, generator=generator) + 0.5
        self.cond = torch.randint(CONDITIONS, (self.batch,), generator=generator)
        self.x0, self.x1, self.v = torch.randn(3, self.batch, self.dim, generator=generator)
        self.t = torch.rand(self.batch, generator=generator)
        self.seed = torch.tensor([20250211])
        self.tables = (self.logits, self.mean, self.scale)

    @property
    def event_bytes(self) -> int:
        """Bytes of one batch."""
        return self.batch * self.dim * 4

    @property
    def table_bytes(self) -> int:
        """Bytes of means and scales."""
        return 2 * self.mean.numel() * 4

    def name(self, operator: str, *, mixture: bool = True) -> str:
        """The operator at this size."""
        size = f"{operator}, {self.batch} x {self.dim}"
        return f"{size}, K = {self.components}" if mixture else size
