"""What is timed: a made mixture for each of ten conditions and a batch, in float32; and pictures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from flowprior.data import load_data
from flowprior.errors import DataNotFoundError

CONDITIONS = 10
PIXELS = 784
TRAIN, TEST = 60_000, 10_000
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
        self.event_bytes = self.x1.nbytes
        self.table_bytes = self.mean.nbytes + self.scale.nbytes

    def name(self, operator: str, *, mixture: bool = True) -> str:
        """The operator at this size."""
        size = f"{operator}, {self.batch} x {self.dim}"
        return f"{size}, K = {self.components}" if mixture else size


class Pictures(NamedTuple):
    """Rows ``[60000, 784]`` with labels, and ``[10000, 784]`` held-out ones with theirs."""

    name: str
    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor


@cache
def pictures() -> Pictures:
    """Fashion-MNIST where it is on this machine, otherwise pictures drawn from a mixture of low rank."""
    try:
        splits = [load_data("fashion-mnist", split) for split in ("train", "test")]
    except DataNotFoundError:
        return drawn()
    (x, y), (x_test, y_test) = (data.batch(torch.arange(len(data))) for data in splits)
    assert isinstance(y, Tensor)
    assert isinstance(y_test, Tensor)
    return Pictures("Fashion-MNIST", x.flatten(1), y, x_test.flatten(1), y_test)


def drawn(train: int = TRAIN, test: int = TEST) -> Pictures:
    """Pictures in [-1, 1]: a mean for each class, sixteen directions around it, and noise.

    One cluster a class, so that the optima that two fits may end in are about equally good.
    """
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(CONDITIONS, PIXELS, generator=generator) * 0.4
    basis = torch.randn(CONDITIONS, 16, PIXELS, generator=generator) * 0.025

    def draw(n: int) -> tuple[Tensor, Tensor]:
        y = torch.arange(n) % CONDITIONS
        x = mean[y] + 0.05 * torch.randn(n, PIXELS, generator=generator)
        for label in range(CONDITIONS):
            rows = y == label
            x[rows] += torch.randn(int(rows.sum()), 16, generator=generator) @ basis[label]
        return x.clamp_(-1, 1), y

    return Pictures("drawn pictures", *draw(train), *draw(test))
