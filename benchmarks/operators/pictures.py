"""The pictures that fits, pairings and training steps are timed on: Fashion-MNIST, or drawn ones."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from flowprior.data import load_data
from flowprior.errors import DataNotFoundError

CLASSES, PIXELS = 10, 784
TRAIN, TEST = 60_000, 10_000


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
    assert y is not None
    assert y_test is not None
    return Pictures("Fashion-MNIST", x.flatten(1), y, x_test.flatten(1), y_test)


def drawn(train: int = TRAIN, test: int = TEST) -> Pictures:
    """Pictures in [-1, 1]: a mean for each class, sixteen directions around it, and noise.

    One cluster a class, so that the optima that two fits may end in are about equally good.
    """
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(CLASSES, PIXELS, generator=generator) * 0.4
    basis = torch.randn(CLASSES, 16, PIXELS, generator=generator) * 0.025

    def draw(n: int) -> tuple[Tensor, Tensor]:
        y = torch.arange(n) % CLASSES
        x = mean[y] + 0.05 * torch.randn(n, PIXELS, generator=generator)
        for label in range(CLASSES):
            rows = y == label
            x[rows] += torch.randn(int(rows.sum()), 16, generator=generator) @ basis[label]
        return x.clamp_(-1, 1), y

    return Pictures("drawn pictures", *draw(train), *draw(test))
