"""Rows of each condition come once, and their products are those of a loop, whichever way is taken."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flowprior import Prior
from flowprior.mixtures import grouped
from flowprior.mixtures import grouped as module
from flowprior.mixtures.grouped import gathers, joined, rows_of_each, segments, times_table


@pytest.mark.parametrize(("groups", "rows", "size"), [(40, 50, (5, 3)), (2, 300, (60, 40)), (1, 7, (4, 2))])
def test_each_row_meets_the_matrix_of_its_group(groups, rows, size, generator):
    tables = torch.randn(groups, *size, generator=generator, dtype=torch.float64)
    x = torch.randn(rows, size[0], generator=generator, dtype=torch.float64)
    place = torch.randint(groups, (rows,), generator=generator)
    expected = torch.stack([row @ tables[i] for row, i in zip(x, place.tolist(), strict=True)])
    torch.testing.assert_close(times_table(x, place, tables), expected, rtol=1e-12, atol=1e-12)
    assert times_table(x[:0], place[:0], tables).shape == (0, size[1])


def test_many_small_groups_are_gathered_in_parts(monkeypatch, generator):
    assert gathers(1000, 1000, 64 * 8)
    assert not gathers(128, 10, 784 * 64)
    monkeypatch.setattr(grouped, "GATHERED", 40)
    test_each_row_meets_the_matrix_of_its_group(40, 50, (5, 3), generator)


@pytest.mark.parametrize("covariance", ["full", "tied", "lowrank"])
def test_a_mixture_of_many_labels_is_that_of_each_alone(covariance, generator, monkeypatch):
    labels = torch.arange(600) % 60
    x = torch.randn(600, 3, generator=generator, dtype=torch.float64) + labels[:, None] / 10
    options = {"components": 2, "covariance": covariance, "shrinkage": 4.0, "max_iter": 3}
    prior = Prior.create("gmm", **options).fit((x, labels), generator=generator)

    def both():
        drawn = prior.sample(labels, generator=torch.Generator().manual_seed(0))
        return (
            prior.log_prob(x, labels),
            prior.infer(x, labels, generator=torch.Generator().manual_seed(0)),
            drawn,
        )

    gathered = both()
    monkeypatch.setattr(grouped, "NUMBERS_OF_A_CALL", 0)
    for one, other in zip(gathered, both(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


# -- rows of each condition -----------------------------------------------------------------------


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    conditions=st.integers(1, 30),
    seed=st.integers(0, 100),
)
def test_every_row_comes_once_under_its_label(sizes: list[int], conditions: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.arange(sum(sizes)).float()[:, None]
    labels = torch.randint(conditions, (len(rows),), generator=generator)
    batches = list(zip(rows.split(sizes), labels.split(sizes), strict=True))
    found = [(x, label) for x, label in segments(batches, conditions)]
    assert torch.cat([x for x, _ in found]).sort(0).values.equal(rows)
    for x, label in found:
        assert (labels[x[:, 0].long()] == label).all()


def test_only_active_conditions() -> None:
    x, labels = torch.randn(60, 2), torch.arange(60) % 6
    active = torch.tensor([True, False, False, True, False, False])
    assert {label for _, label in segments([(x, labels)], 6, active)} == {0, 3}


def test_without_conditions_batches_pass_as_they_are() -> None:
    batches = [(torch.randn(3, 2), None), (torch.randn(5, 2), None)]
    assert [(len(x), label) for x, label in segments(batches, 1)] == [(3, 0), (5, 0)]


def test_many_conditions_share_a_call_each_for_many_batches() -> None:
    x, labels = torch.randn(4000, 2), torch.arange(4000) % 100
    batches = list(zip(x.split(100), labels.split(100), strict=True))
    assert sum(1 for _ in segments(batches, 100)) == 100  # one row at a time there would be 4,000


def test_what_is_held_back_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "JOINED_BYTES", 4 * 8 * 50)  # fifty rows of eight float32
    batches = [(torch.randn(20, 8), torch.arange(20)) for _ in range(10)]
    assert [len(x) for x, _ in joined(batches, 1000)] == [60, 60, 60, 20]


def test_a_condition_with_most_of_the_rows_comes_in_pieces() -> None:
    rows = module.LONGEST * 2 + 5
    pieces = [len(x) for x, _ in segments([(torch.zeros(rows, 1), torch.zeros(rows).long())], 1)]
    assert pieces == [module.LONGEST, module.LONGEST, 5]


@given(keys=st.lists(st.integers(-1, 4), max_size=12))
def test_the_rows_of_each_key_keep_their_order(keys: list[int]) -> None:
    found = {key: rows.tolist() for key, rows in rows_of_each(torch.tensor(keys, dtype=torch.long))}
    assert found == {key: [i for i, other in enumerate(keys) if other == key] for key in set(keys)}
    assert list(found) == sorted(found)
