"""Chan's update gives numpy's moments, however the rows are cut into batches and workers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from flowprior.mixtures import moments
from flowprior.mixtures.moments import ConditionMoments


def rows(count: int, dim: int, seed: int, classes: int = 3) -> tuple[Tensor, Tensor]:
    """Rows around means of different sizes, float64, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (count,), generator=generator)
    x = torch.randn(count, dim, generator=generator, dtype=torch.float64)
    return x * 10.0 ** (labels[:, None] - 1) + 100.0 * labels[:, None], labels


def check_against_numpy(moments: ConditionMoments, x: Tensor, labels: Tensor, *, full: bool = False) -> None:
    for label in range(int(labels.max()) + 1):
        part = x[labels == label].numpy()
        assert moments.count[label] == len(part)
        if not len(part):
            assert not moments.variance()[label].any()
            continue
        deviation = part - part.mean(0)
        scatter = deviation.T @ deviation if full else (deviation**2).sum(0)
        scale = max(float(np.abs(scatter).max()), 1e-6)
        np.testing.assert_allclose(moments.mean[label].numpy(), part.mean(0), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(moments.scatter[label].numpy(), scatter, rtol=1e-9, atol=1e-11 * scale)
        np.testing.assert_allclose(
            moments.variance()[label].numpy(), part.var(0), rtol=1e-9, atol=1e-11 * scale
        )


@given(
    st.integers(1, 40),
    st.integers(1, 4),
    st.lists(st.integers(1, 9), max_size=12),
    st.booleans(),
    st.integers(0, 99),
)
def test_any_cut_into_batches_gives_the_same_moments(count, dim, sizes, full, seed):
    x, labels = rows(count, dim, seed)
    cuts = np.cumsum(sizes).tolist()
    batches = zip(torch.tensor_split(x, cuts), torch.tensor_split(labels, cuts), strict=True)
    moments = ConditionMoments.over(batches, full=full)
    check_against_numpy(moments, x, labels, full=full)


@given(st.integers(1, 30), st.permutations(range(4)), st.booleans(), st.integers(0, 99))
def test_parts_may_be_merged_in_any_order(count, order, full, seed):
    x, labels = rows(count, 3, seed)
    parts = [
        ConditionMoments.over([(part, label)], 3, full=full)
        for part, label in zip(x.tensor_split(4), labels.tensor_split(4), strict=True)
    ]
    merged = ConditionMoments(3, full=full)
    for index in order:
        merged.merge(parts[index])
    check_against_numpy(merged, x, labels, full=full)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize(
    ("shape", "pieces"), [((10, 3), [10]), ((11, 3), [4, 4, 3]), ((2, 20), [1, 1]), ((1, 40), [1])]
)
def test_a_long_batch_is_joined_in_pieces_with_the_same_moments(shape, pieces, labelled, full, monkeypatch):
    class Watched(ConditionMoments):
        def _join(self, labels: Tensor, count: Tensor, mean: Tensor, scatter: Tensor) -> None:
            joined.append(int(count.sum()))
            super()._join(labels, count, mean, scatter)

    monkeypatch.setattr(moments, "CACHED", 30)
    monkeypatch.setattr(moments, "PIECE", 12)
    joined: list[int] = []
    x, labels = rows(*shape, seed=1)
    found = Watched.over([(x, labels if labelled else None)], full=full)
    assert joined == pieces
    check_against_numpy(found, x, labels if labelled else torch.zeros_like(labels), full=full)


@pytest.mark.parametrize("full", [False, True])
def test_of_no_rows_there_are_no_moments(full):
    found = ConditionMoments.over([], 2, full=full)
    assert (found.count.tolist(), found.mean.shape) == ([0, 0], (2, 0))


def test_a_mean_far_from_zero_loses_no_digits_in_float32_batches():
    """The textbook Σx² − n x̄² in float32 would give a variance of 0 or less here."""
    generator = torch.Generator().manual_seed(0)
    x = 1e4 + torch.randn(2000, 1, generator=generator)
    moments = ConditionMoments.over((batch, None) for batch in x.split(7))
    assert moments.variance()[0, 0].item() == pytest.approx(x.double().var(0, correction=0).item(), rel=1e-10)
    assert moments.count.dtype == moments.mean.dtype == moments.scatter.dtype == torch.float64
    assert moments.scatter.shape == (1, 1)


def test_new_labels_extend_and_missing_ones_are_empty():
    moments = ConditionMoments(2, conditions=1)
    moments.update(torch.ones(3, 2), torch.tensor([0, 0, 0]))
    moments.update(torch.zeros(2, 2), torch.tensor([4, 2]))
    assert moments.count.tolist() == [3, 0, 1, 0, 1]
    assert moments.scatter.shape == (5, 2)
    assert not moments.variance().any()
    moments.update(torch.zeros(0, 2), torch.zeros(0, dtype=torch.long))
    assert moments.count.sum() == 5


@pytest.mark.parametrize("full", [False, True])
def test_pooled_moments_are_those_of_all_rows_together(full):
    x, labels = rows(50, 3, seed=3)
    pooled = ConditionMoments.over([(x, labels * 2)], full=full).pooled()
    assert pooled.count == 50
    np.testing.assert_allclose(pooled.mean.numpy(), x.numpy().mean(0), rtol=1e-12)
    np.testing.assert_allclose(pooled.variance.numpy(), x.numpy().var(0), rtol=1e-10)
    if full:
        assert pooled.covariance is not None
        np.testing.assert_allclose(pooled.covariance.numpy(), np.cov(x.numpy().T, bias=True), rtol=1e-9)
    else:
        assert pooled.covariance is None


@pytest.mark.parametrize("full", [False, True])
def test_about_the_origin_they_are_raw_second_moments(full: bool) -> None:
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)).double() + 2
    labels = torch.arange(50) % 4
    moments = ConditionMoments.over([(x, labels)], full=full).about_origin()
    rows = x[labels == 2]
    torch.testing.assert_close(moments.scatter[2], rows.T @ rows if full else rows.square().sum(0))
    assert not moments.mean.any()
    assert moments.count.tolist() == [13, 13, 12, 12]


def test_many_labels_are_summed_without_a_table_of_rows_by_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    """10,000 labels of 100,000 rows would take 7 GiB of it."""

    def one_hot(index: Tensor, groups: int) -> Tensor:
        assert len(index) * groups <= moments.MEMBERSHIPS, "memory"
        return index[:, None] == torch.arange(groups)

    monkeypatch.setattr(torch.nn.functional, "one_hot", one_hot)
    x, labels = torch.randn(20_000, 3, dtype=torch.float64), torch.arange(20_000) % 2_000
    many, few = ConditionMoments.over([(x, labels)]), ConditionMoments.over([(x, labels % 10)])
    for found, count in ((many, 2_000), (few, 10)):
        rows = x.view(-1, count, 3)
        torch.testing.assert_close(found.mean, rows.mean(0))
        torch.testing.assert_close(found.variance(), rows.var(0, correction=0))
