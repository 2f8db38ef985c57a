"""Samples of a stream are uniform and of bounded size; first rows are each label's first."""

from __future__ import annotations

import torch

from flowprior.mixtures.samples import first_rows, in_pieces, sample_rows


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
