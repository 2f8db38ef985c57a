"""An order of very many examples is a permutation, another one for another key, and looks random."""

from __future__ import annotations

import pytest
import torch

from flowprior.training import batches
from flowprior.training.batches import IndexStream, probe_indices
from flowprior.training.permutation import KeyedPermutation, chances_at

BILLION = 1_000_000_000


@pytest.mark.parametrize("size", [1, 2, 3, 15, 16, 17, 1000, 4096, 70_001])
def test_every_index_comes_once(size: int) -> None:
    found = KeyedPermutation(size, 5).at(torch.arange(size))
    assert torch.equal(found.sort().values, torch.arange(size))


def test_keys_give_orders_that_share_no_more_than_chance_has_it() -> None:
    places = torch.arange(10_000)
    first, second = (KeyedPermutation(10_000, key).at(places) for key in (1, 2))
    assert int((first == second).sum()) < 10  # expected: 1
    assert int((first == places).sum()) < 10


def test_neighbours_lie_as_far_apart_as_random_indices() -> None:
    """|i − j| of random i, j < n is n/3 on average, with a standard deviation of n/√18."""
    found = KeyedPermutation(BILLION, 3).at(torch.arange(20_000)).double() / BILLION
    assert abs(float((found[1:] - found[:-1]).abs().mean()) - 1 / 3) < 5 / 18**0.5 / 20_000**0.5
    counts = torch.histc(found, 50, 0, 1)  # 400 each, ± 20
    assert float(((counts - 400) ** 2 / 400).sum()) < 49 + 6 * (2 * 49) ** 0.5


def test_chances_are_uniform_and_belong_to_their_places() -> None:
    found = chances_at(torch.arange(20_000), 7)
    counts = torch.histc(found, 50, 0, 1)
    assert float(((counts - 400) ** 2 / 400).sum()) < 49 + 6 * (2 * 49) ** 0.5
    assert torch.equal(chances_at(torch.arange(100, 200), 7), found[100:200])
    assert abs(float(torch.corrcoef(torch.stack([found, chances_at(torch.arange(20_000), 8)]))[0, 1])) < 0.05


def test_a_stream_of_a_billion_takes_no_list() -> None:
    stream = IndexStream(BILLION, 0)
    over = stream.take(BILLION - 3, 6)  # the end of one epoch and the beginning of the next
    assert torch.equal(over, torch.cat([stream.take(BILLION - 3, 3), stream.take(BILLION, 3)]))
    assert torch.equal(stream.chances(BILLION - 3, 6)[3:], stream.chances(BILLION, 3))
    assert not stream._epochs
    assert not stream._chances
    assert len(probe_indices(BILLION, 100, 0).unique()) == 100


def test_an_epoch_of_a_computed_order_has_every_example(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "LISTED", 10)
    stream = IndexStream(101, 4)
    epochs = [stream.take(101 * epoch, 101) for epoch in range(2)]
    for epoch in epochs:
        assert torch.equal(epoch.sort().values, torch.arange(101))
    assert not torch.equal(*epochs)
