"""Bounded samples of a stream, k-means++ and Lloyd's iterations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowprior.mixtures.em import _plus_plus, kmeans_centres
from flowprior.mixtures.samples import (
    SAMPLE_BUDGET,
    SAMPLE_SIZE,
    Reservoirs,
    first_rows,
    in_pieces,
    sample_rows,
    thinned,
)


def clusters(generator: torch.Generator, classes: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Three tight clusters for each class; rows, labels and true centres ``[C, 3, 2]``."""
    centres = 10 * torch.randn(classes, 3, 2, generator=generator)
    labels = torch.arange(300 * classes) % classes
    which = (torch.arange(300 * classes) // classes) % 3
    noise = 0.01 * torch.randn(300 * classes, 2, generator=generator)
    return centres[labels, which] + noise, labels, centres


def sampled(x: Tensor, labels: Tensor, size: int, batch: int, seed: int = 0) -> Reservoirs:
    reservoirs = Reservoirs(int(labels.max()) + 1, size, x.shape[1], x.dtype)
    generator = torch.Generator().manual_seed(seed)
    for rows, label in zip(x.split(batch), labels.split(batch), strict=True):
        reservoirs.update(rows, label, generator)
    return reservoirs


def centres_of(x: Tensor, labels: Tensor, components: int, generator: torch.Generator) -> Tensor:
    """k-means of the whole data, given in batches of 100."""
    batches = zip(x.split(100), labels.split(100), strict=True)
    shape = (int(labels.max()) + 1, x.shape[1], x.dtype)
    reservoirs = Reservoirs.over(batches, *shape, least=components, generator=generator)
    return kmeans_centres(reservoirs, components, generator)


def test_a_reservoir_keeps_all_rows_of_a_small_condition_and_no_more_than_its_size():
    x = torch.arange(50.0)[:, None]
    labels = torch.tensor([0] * 3 + [2] * 47)
    kept = sampled(x, labels, size=10, batch=7)
    assert kept.filled.sum(1).tolist() == [3, 0, 10]
    assert sorted(kept.rows[0][kept.filled[0], 0].tolist()) == [0, 1, 2]
    second = kept.rows[2][kept.filled[2], 0]
    assert len(second.unique()) == 10, "without replacement"
    assert (second >= 3).all()


def test_every_row_is_equally_likely_to_be_kept():
    x = torch.arange(40.0)[:, None]
    labels = torch.zeros(40, dtype=torch.long)
    rounds = 600
    seen = torch.zeros(40)
    for seed in range(rounds):
        seen[sampled(x, labels, 10, 11, seed).rows[0, :, 0].long()] += 1
    error = (0.25 * 0.75 / rounds) ** 0.5
    assert ((seen / rounds - 0.25).abs() < 5 * error).all(), "five standard errors"


def test_separated_clusters_of_every_condition_are_found(generator):
    x, labels, truth = clusters(generator, classes=4)
    found = centres_of(x, labels, 3, generator)
    distance = torch.cdist(truth, found)
    assert (distance.amin(2) < 0.01).all(), "each true centre has one of ours on it"


def test_centres_do_not_suffer_from_a_mean_far_from_zero(generator):
    x, labels, truth = clusters(generator)
    found = centres_of(x.double() + 1e7, labels, 3, generator)
    assert (torch.cdist(truth.double(), found - 1e7).amin(2) < 0.01).all()


def test_centres_are_seeded_as_often_as_greedy_seeding_says(generator):
    """The first is any row; the second is the best of four rows that are drawn by their squared distances."""
    rows = torch.tensor([0.0, 1.0, 2.5, 9.0, 10.0, 12.0], dtype=torch.float64)
    distance = (rows[:, None] - rows).square()
    expected = torch.zeros(6, 6, dtype=torch.float64)
    for first, own in enumerate(distance):
        left = torch.minimum(own, distance).sum(1)
        for second in range(6):
            chosen = left >= left[second]
            best = (own[chosen].sum() / own.sum()) ** 4 - (own[left > left[second]].sum() / own.sum()) ** 4
            expected[first, second] = best / 6
    draws = 20_000
    given = torch.cat([rows, rows.new_tensor([50.0])]).repeat(draws, 1)[..., None]  # the last is no row
    filled = torch.tensor([True] * 6 + [False]).repeat(draws, 1)
    centres = _plus_plus(given, filled, 2, generator)
    places = (centres == rows).long().argmax(2)
    share = torch.bincount(places @ torch.tensor([6, 1]), minlength=36).view(6, 6) / draws
    assert (centres == rows).any(2).all()
    assert ((share - expected).abs() <= 5 * (expected * (1 - expected) / draws).sqrt() + 3 / draws).all()


def test_fewer_distinct_rows_than_centres_are_repeated(generator):
    x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [5.0, 5.0]])
    found = centres_of(x, torch.zeros(3, dtype=torch.long), 4, generator)
    assert {tuple(row) for row in found[0].tolist()} == {(1.0, 0.0), (5.0, 5.0)}


def test_an_empty_condition_does_not_disturb_the_others(generator):
    x, _, truth = clusters(generator, classes=1)
    labels = torch.full((len(x),), 2)
    found = centres_of(x, labels, 3, generator)
    assert found.isfinite().all()
    assert (torch.cdist(truth[0], found[2]).amin(1) < 0.01).all()


def test_the_sample_is_bounded_by_memory_but_never_below_the_components():
    wide = Reservoirs.over([], 1, SAMPLE_BUDGET, torch.float32, least=3)
    assert wide.rows.shape == (1, 3, SAMPLE_BUDGET)
    narrow = Reservoirs.over([], 2, 4, torch.float32, least=3)
    assert narrow.rows.shape == (2, SAMPLE_SIZE, 4)


# -- samples of a stream --------------------------------------------------------------------------


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
