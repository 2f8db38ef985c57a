"""Samples and first rows of shares are those of all rows in the order of the processes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowprior.data.stream import CheckedBatches
from flowprior.errors import InputError, OptionError
from flowprior.mixtures.kmeans import Reservoirs
from flowprior.priors.row_sample import RowSample, first_rows
from tests.priors.thread_group import ThreadGroup, in_threads

LABELS, DIM = 4, 3
BOUNDS = (0, 17, 60, 61, 150)


def rows() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(BOUNDS[-1], DIM, generator=generator)
    return x, torch.randint(LABELS, (len(x),), generator=generator)


def stream(group: ThreadGroup | None) -> CheckedBatches:
    x, label = rows()
    part = slice(None) if group is None else slice(BOUNDS[group.rank], BOUNDS[group.rank + 1])
    batches = list(zip(x[part].split(20), label[part].split(20), strict=True))
    return CheckedBatches(batches, "prior", group=group)


def test_a_sample_of_rows() -> None:
    def sampled(group: ThreadGroup | None) -> set[tuple[int, tuple[float, ...]]]:
        data = stream(group)
        sample = RowSample.over(data, 30, data.share)
        assert len(sample.rows) == 30
        return {(int(c), tuple(x.tolist())) for x, c in zip(sample.rows, sample.labels, strict=True)}

    assert in_threads(sampled, 4) == [sampled(None)] * 4


def test_own_rows_of_a_sample_are_together_that_of_all_rows() -> None:
    def own(group: ThreadGroup | None) -> list[tuple[int, tuple[float, ...]]]:
        data = stream(group)
        sample = RowSample.part(data, 30, data.share)
        return [(int(c), tuple(x.tolist())) for x, c in zip(sample.rows, sample.labels, strict=True)]

    parts = in_threads(own, 4)
    assert len(parts[2]) <= 1, "a share of one row has no other"
    assert sorted(row for part in parts for row in part) == sorted(own(None))


@pytest.mark.parametrize("least", [3, 60])
def test_a_sample_of_each_label_and_what_the_generator_gives_afterwards(least: int, monkeypatch) -> None:
    monkeypatch.setattr("flowprior.mixtures.kmeans.SAMPLE_SIZE", 1)

    def sampled(group: ThreadGroup | None) -> tuple[Tensor, Tensor, Tensor]:
        data, generator = stream(group), torch.Generator().manual_seed(7)
        terms = {"least": least, "generator": generator, "share": data.share}
        found = Reservoirs.over(data, LABELS, DIM, torch.float32, **terms)
        return found.rows, found.filled, torch.rand(2, generator=generator)

    alone = sampled(None)
    assert bool(alone[1].all()) == (least == 3)
    for found in in_threads(sampled, 4):
        for mine, theirs in zip(found, alone, strict=True):
            assert torch.equal(mine, theirs)


@pytest.mark.parametrize("most", [1, 5, 100])
def test_first_rows_of_each_label(most: int) -> None:
    def taken(group: ThreadGroup | None) -> Tensor:
        data = stream(group)
        found = [x for x, _ in first_rows(data, LABELS, most, data.labels_before(LABELS))]
        return torch.cat(found) if found else torch.zeros(0, DIM)

    assert torch.equal(torch.cat(list(in_threads(taken, 4))), taken(None))


def test_a_share_without_rows_is_said_by_all() -> None:
    def peeked(group: ThreadGroup) -> str:
        data = [(torch.zeros(2, DIM), None)] if group.rank else []
        with pytest.raises(InputError) as caught:
            CheckedBatches(data, "gmm", group=group).peek_together()
        return str(caught.value)

    first, second = in_threads(peeked, 2)
    assert "expected at least one example" in first
    assert second == first


@pytest.mark.parametrize("other", ["labels", "shape", "dtype"])
def test_shares_of_another_kind_are_refused_by_all(other: str) -> None:
    def peeked(group: ThreadGroup) -> str:
        x, label = torch.zeros(2, DIM), torch.zeros(2, dtype=torch.long)
        if group.rank:
            x = {"shape": torch.zeros(2, DIM + 1), "dtype": x.double()}.get(other, x)
        data = [(x, None if other == "labels" and group.rank else label)]
        with pytest.raises(InputError) as caught:
            CheckedBatches(data, "gmm", group=group).peek_together()
        return str(caught.value)

    first, second = in_threads(peeked, 2)
    assert first == second
    assert "gmm.fit: expected shares of one kind, got events and conditions" in first


def test_generators_in_different_states_are_refused_and_none_is_the_first_ones() -> None:
    def drawn(group: ThreadGroup) -> float:
        torch.manual_seed(group.rank)
        generator = group.generator(None, torch.device("cpu"), "gmm.fit")
        same = group.generator(torch.Generator().manual_seed(4), torch.device("cpu"), "gmm.fit")
        assert float(torch.rand((), generator=same)) == float(
            torch.rand((), generator=torch.Generator().manual_seed(4))
        )
        with pytest.raises(OptionError, match=r"gmm\.fit: the processes of the group gave generators"):
            group.generator(torch.Generator().manual_seed(group.rank), torch.device("cpu"), "gmm.fit")
        return float(torch.rand((), generator=generator))

    first, second = in_threads(drawn, 2)
    assert first == second


def test_all_raise_what_one_raises_even_where_it_cannot_be_sent() -> None:
    class Own(Exception):
        pass

    def worked(group: ThreadGroup) -> str:
        def work(item: int) -> int:
            if item == 1:
                raise Own("of process 1")
            return item

        with pytest.raises(Exception, match="of process 1") as caught:
            group.in_parts(work, [0, 1, 2])
        return type(caught.value).__name__

    assert list(in_threads(worked, 2)) == ["RuntimeError", "Own"]
