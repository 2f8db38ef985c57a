"""Samples of a stream are uniform and of bounded size; first rows are each label's first."""

from __future__ import annotations

import pytest
import torch

from flowprior.mixtures.samples import Reservoirs, first_rows, in_pieces, sample_rows, thinned


def stream(rows: int, batch: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Row i is (i, −i), its label i mod 3."""
    i = torch.arange(rows)
    x = torch.stack([i, -i], 1).double()
    return list(zip(x.split(batch), (i % 3).split(batch), strict=True))


def test_every_row_is_kept_as_often_and_with_its_label():
    times = torch.zeros(100)
    for seed in range(400):
        rows, labels = sample_rows(stream(100, 17), 20, seed)
        kept = rows[:, 0].long()
        assert len(kept.unique()) == 20
        assert torch.equal(labels, kept % 3)
        times[kept] += 1
    # A count of 400 draws of probability 0.2 has mean 80 and standard deviation 8.
    assert (times - 80).abs().max() < 8 * 4.5
    assert abs(float(times[:50].mean() - 80)) < 4


def test_few_rows_are_all_kept_and_long_ones_are_bounded(monkeypatch):
    assert len(sample_rows(stream(10, 3), 100)[0]) == 10
    monkeypatch.setattr("flowprior.mixtures.samples.SAMPLE_BYTES", 5 * 16)
    assert len(sample_rows(stream(10, 3), 100)[0]) == 5


def test_first_rows_of_each_label_come_in_their_order():
    found = torch.cat([x[:, 0] for x, _ in first_rows(stream(100, 7), 3, 4)])
    assert found.tolist() == list(range(12))
    assert [len(x) for x, _ in first_rows(stream(10, 4), 3, 100)] == [4, 4, 2]


def test_pieces_hold_all_rows(monkeypatch):
    monkeypatch.setattr("flowprior.mixtures.samples.PIECE", 6)
    pieces = list(in_pieces(stream(10, 4)))
    assert max(len(x) for x, _ in pieces) == 3
    assert torch.cat([x for x, _ in pieces])[:, 0].tolist() == list(range(10))
    assert all(c is None for _, c in in_pieces([(torch.zeros(7, 2), None)]))
    assert [len(x) for x, _ in in_pieces([(torch.zeros(2, 8), None)])] == [1, 1]


@pytest.mark.parametrize(
    ("most", "kept"), [(20, range(13)), (13, range(13)), (12, range(0, 13, 2)), (3, [0, 5, 10])]
)
@pytest.mark.parametrize("labelled", [True, False])
def test_thinned_rows_lie_evenly_over_all_batches(most, kept, labelled):
    batches = [(x, c if labelled else None) for x, c in stream(13, 4)]
    found = list(thinned(lambda: batches, most))
    assert torch.cat([x[:, 0] for x, _ in found]).tolist() == list(kept)
    labels = [c for _, c in found if c is not None]
    assert torch.cat(labels).tolist() == [i % 3 for i in kept] if labelled else not labels
    assert all(len(x) for x, _ in found)


def test_rows_without_a_label_are_of_one_condition():
    batches = [(x, None) for x, _ in stream(10, 4)]
    assert torch.cat([labels for _, labels in first_rows(batches, 1, 6)]).tolist() == [0] * 6
    assert not sample_rows(batches, 5)[1].any()
    kept = Reservoirs.over(batches, 1, 2, torch.float64, least=3)
    assert sorted(kept.rows[0, kept.filled[0], 0].tolist()) == list(range(10))
