"""Held-out rows go by what they hold: the same ones in every order, equal rows together."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from flowprior import Prior, train
from flowprior.data import Subset, TensorData
from flowprior.errors import InputError
from flowprior.priors.holdout import Holdout, row_digests
from flowprior.streams.batches import CheckedBatches
from tests.priors.captions import captions


def held_out(x: Tensor, share: float, *, shuffle: bool = False) -> list[set[tuple[float, ...]]]:
    """The held-out rows of three passes."""
    generator = torch.Generator().manual_seed(0)
    loader = DataLoader(TensorDataset(x), batch_size=37, shuffle=shuffle, generator=generator)
    split = Holdout(CheckedBatches(loader, "learned-mean"), share)
    return [{tuple(row.tolist()) for part, _ in split.rows(held_out=True) for row in part} for _ in range(3)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("share", "expected"), [(0.1, 50), (0.5, 250), (0.0, 0), (1 / 3, 166)])
def test_a_loader_that_shuffles_holds_out_the_same_rows_in_every_pass(dtype, share, expected, generator):
    x = torch.randn(500, 6, generator=generator, dtype=dtype)
    passes = [*held_out(x, share), *held_out(x, share, shuffle=True)]
    assert len(passes[0]) == expected
    assert all(rows == passes[0] for rows in passes)


def test_the_two_parts_are_all_rows_with_their_conditions(generator):
    x, cond = torch.randn(300, 4, generator=generator), torch.arange(300)
    split = Holdout(CheckedBatches((x, cond), "learned-mean"), 0.2)
    parts = [list(split.rows(held_out=out)) for out in (False, True)]
    labels = [torch.cat([c for _, c in part if c is not None]) for part in parts]
    assert [len(part) for part in labels] == [240, 60]
    assert torch.equal(torch.cat(labels).sort().values, cond)
    for part, c in zip(parts, labels, strict=True):
        assert torch.equal(torch.cat([rows for rows, _ in part]), x[c])


def test_copies_stay_on_one_side_and_equal_rows_are_all_trained_on(generator):
    x = torch.randn(50, 3, generator=generator).repeat(4, 1)
    split = Holdout(CheckedBatches(x, "vae"), 0.25)
    sides = [
        {tuple(row.tolist()) for part, _ in split.rows(held_out=out) for row in part} for out in (False, True)
    ]
    assert not sides[0] & sides[1]
    assert len(sides[0] | sides[1]) == 50
    assert Holdout(CheckedBatches(torch.ones(40, 3), "vae"), 0.25).is_empty
    assert Holdout(CheckedBatches(torch.randn(3, 3), "vae"), 0.1).is_empty


def test_digests_tell_one_bit_and_spread_evenly(generator):
    x = torch.randn(4000, 5, generator=generator)
    other = x.clone()
    other[:, 2] = torch.nextafter(other[:, 2], torch.tensor(9.0))
    first, second = row_digests(x), row_digests(other)
    assert not (first == second).any()
    assert len(first.unique()) == 4000
    assert abs((first < 0).double().mean() - 0.5) < 0.04
    assert abs(((first < 0) == (second < 0)).double().mean() - 0.5) < 0.04


def sides_of(x: Tensor, cond: Tensor, share: float = 0.1) -> list[set[tuple[float, ...]]]:
    """The embeddings of rows trained on, held out, and held out beside those trained on."""
    split = Holdout(CheckedBatches([(x, cond)], "learned-mean"), share, whole_conditions=True)
    parts = [split.rows(held_out=False), split.rows(held_out=True), split.beside()]
    return [{tuple(row.tolist()) for _, c in part if c is not None for row in c} for part in parts]


def test_embeddings_that_repeat_are_held_out_whole_and_rows_beside_the_others():
    x, cond = captions(200, 1)
    trained, held_out, beside = sides_of(x, cond)
    assert len(held_out) == 20
    assert not trained & held_out
    assert not beside & held_out
    assert len(beside & trained) > 60
    split = Holdout(CheckedBatches((x, cond), "learned-mean"), 0.1, whole_conditions=True)
    counts = [sum(len(part) for part, _ in rows) for rows in (split.rows(held_out=True), split.beside())]
    assert counts[0] == 100
    assert 70 < counts[1] < 110
    assert sum(len(part) for part, _ in split.residual_rows()) == counts[1]


@pytest.mark.parametrize("condition", ["distinct", "few", "labels"])
def test_otherwise_rows_are_held_out_as_they_were(condition):
    x, cond = captions(200, 1)
    rows = torch.arange(len(x))
    given = {"distinct": cond + rows[:, None], "few": cond[:5].repeat(200, 1), "labels": rows % 5}[condition]
    split = Holdout(CheckedBatches((x, given), "learned-mean"), 0.1, whole_conditions=True)
    plain = Holdout(CheckedBatches((x, given), "learned-mean"), 0.1)
    assert torch.equal(*(next(part.rows(held_out=True))[0] for part in (split, plain)))
    assert not list(split.beside())


def test_groups_are_held_out_whole(generator):
    """Overlapping windows of one series: neighbours are nearly equal, though their bits are not."""
    x = torch.randn(400, 3, generator=generator)
    data = TensorData(x, torch.arange(400))
    data.groups = torch.arange(400) // 10
    half = Subset(data, torch.arange(0, 400, 2), "half").batches(4)
    assert torch.equal(half.groups, torch.arange(0, 400, 2) // 10)
    for size in (1, 48, 400):
        split = Holdout(CheckedBatches(data.batches(size), "learned-mean"), 0.25)
        held, kept = (
            torch.cat([c for _, c in split.rows(held_out=out) if c is not None]) for out in (True, False)
        )
        assert len(held) == 100
        assert not set((held // 10).tolist()) & set((kept // 10).tolist())
        assert len(set((held // 10).tolist())) == 10


@pytest.mark.parametrize(("groups", "held"), [(1, 0), (2, 1), (4, 1), (40, 4)])
def test_of_few_groups_one_is_held_out_where_there_are_two(groups, held, generator):
    data = TensorData(torch.randn(80, 3, generator=generator), torch.arange(80))
    data.groups = torch.arange(80) % groups
    split = Holdout(CheckedBatches(data, "learned-mean"), 0.1)
    found = [c % groups for _, c in split.rows(held_out=True) if c is not None]
    assert len(torch.cat(found).unique() if found else []) == held


@pytest.mark.parametrize("groups", [torch.zeros(79, dtype=torch.long), torch.zeros(80)])
def test_groups_that_do_not_fit_are_refused(groups, generator):
    data = TensorData(torch.randn(80, 3, generator=generator), torch.arange(80))
    data.groups = groups
    with pytest.raises(InputError, match="expected groups as whole numbers, one for each of 80 rows"):
        Holdout(CheckedBatches(data, "learned-mean"), 0.1)


def test_train_tells_its_prior_of_the_groups(generator, monkeypatch):
    """A prior that train fits holds out what one that is fitted to the data themselves does."""
    x = torch.randn(120, 3, generator=generator)
    data = TensorData(x, torch.randn(120, 2, generator=generator))
    data.groups = torch.arange(120) // 10
    held, own = [], Holdout.__init__

    def noted(self, *args, **kwargs):
        own(self, *args, **kwargs)
        held.append(torch.cat([rows for rows, _ in self.rows(held_out=True)]))

    monkeypatch.setattr(Holdout, "__init__", noted)
    prior = "learned-mean:mapper=linear,sigma=diagonal,holdout=0.2"
    Prior.create(prior).fit(data)
    train(data, prior=prior, coupling="condot", model="mlp:width=8,depth=1", steps=1, progress=False)
    assert len(held[0]) == 20
    assert torch.equal(held[0], held[1])
