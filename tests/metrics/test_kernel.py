"""Kernel distance: the sums written out, torchmetrics, torch-fidelity, unbiasedness, what is refused."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics.image.kid import KernelInceptionDistance

from flowprior.errors import InputError, OptionError
from flowprior.metrics.kernel import kernel_distance, polynomial_mmd2


def clouds(generator: torch.Generator, n: int, m: int, size: int = 24) -> tuple[Tensor, Tensor]:
    x = torch.randn(n, size, generator=generator)
    y = 0.8 * torch.randn(m, size, generator=generator) + 0.4
    return x.relu(), y.relu()


def test_it_is_the_double_sum_of_the_definition(generator: torch.Generator) -> None:
    x, y = (rows.double() for rows in clouds(generator, 6, 4, size=3))

    def mean(a: Tensor, b: Tensor, pairs: Any) -> float:
        return float(np.mean([(float(a[i] @ b[j]) / 3 + 1) ** 3 for i, j in pairs]))

    expected = (
        mean(x, x, itertools.permutations(range(6), 2))
        + mean(y, y, itertools.permutations(range(4), 2))
        - 2 * mean(x, y, itertools.product(range(6), range(4)))
    )
    assert polynomial_mmd2(x, y) == pytest.approx(expected, rel=1e-12)


def test_torchmetrics_agrees_on_the_same_subsets(generator: torch.Generator) -> None:
    x, y = clouds(generator, 150, 130)
    identity = torch.nn.Identity()
    identity.num_features = 24
    with pytest.warns(UserWarning, match="save all extracted features"):
        peer = KernelInceptionDistance(feature=identity, subsets=20, subset_size=50)
    peer.update(x, real=True)
    peer.update(y, real=False)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        mean, std = peer.compute()
    ours = kernel_distance(x, y, subsets=20, subset_size=50, generator=torch.Generator().manual_seed(3))
    assert ours.mean == pytest.approx(mean.item(), rel=1e-4)
    assert ours.std == pytest.approx(std.item(), rel=1e-4)


def test_blocks_change_no_value(generator: torch.Generator, monkeypatch: Any) -> None:
    x, y = clouds(generator, 90, 70)
    state = generator.get_state()
    whole = kernel_distance(x, y, subsets=8, subset_size=30, generator=generator)
    monkeypatch.setattr("flowprior.metrics.kernel.BLOCK", 7)
    generator.set_state(state)
    assert kernel_distance(x, y, subsets=8, subset_size=30, generator=generator) == pytest.approx(whole)


def test_subsets_by_themselves_and_all_pairs_at_once_agree(generator: torch.Generator) -> None:
    """Seven subsets of 30 rows have fewer pairs than 90 · 75, eight of them have more."""
    x, y = clouds(generator, 90, 75)
    state = generator.get_state()
    all_at_once = kernel_distance(x, y, subsets=8, subset_size=30, generator=generator)
    generator.set_state(state)
    seven = kernel_distance(x, y, subsets=7, subset_size=30, generator=generator)
    eighth = kernel_distance(x, y, subsets=1, subset_size=30, generator=generator).mean
    assert all_at_once.mean == pytest.approx((7 * seven.mean + eighth) / 8, rel=1e-10)
    square = (7 * (seven.std**2 + seven.mean**2) + eighth**2) / 8
    assert all_at_once.std**2 + all_at_once.mean**2 == pytest.approx(square, rel=1e-10)


@pytest.mark.parametrize(
    ("shapes", "options", "error", "words"),
    [
        (((1, 3), (5, 3)), {}, InputError, "at least 2 rows"),
        (((5, 3), (4, 3)), {"subset_size": 5}, InputError, "choose a smaller subset_size"),
        (((5, 3), (4, 3)), {"subset_size": 1}, OptionError, "subset_size=1"),
        (((5, 3), (4, 3)), {"subsets": 0}, OptionError, "subsets=0"),
    ],
)
def test_impossible_calls_are_refused(
    shapes: tuple[tuple[int, int], ...], options: dict[str, Any], error: type[Exception], words: str
) -> None:
    x, y = (torch.zeros(*shape) for shape in shapes)
    with pytest.raises(error, match=words):
        kernel_distance(x, y, **options)
