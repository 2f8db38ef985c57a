"""The inputs that the prior was not made for are what they are called."""

from __future__ import annotations

import pytest
import torch

from benchmarks.studies import digits, everything, out_of_distribution
from benchmarks.studies.digits import few_digits, within_class_deviation
from benchmarks.studies.out_of_distribution import (
    CORRUPTIONS,
    GAP,
    PAIR,
    UNSEEN,
    coinciding_digits,
    moons_with_a_gap,
    without_nines,
)
from flowprior import Prior
from flowprior.errors import InputError


def test_moved_classes_share_one_mean_and_keep_their_shape() -> None:
    train, moved = digits.split("train"), coinciding_digits()
    first, second = (moved.x[moved.cond == label] for label in PAIR)
    torch.testing.assert_close(first.mean(0), second.mean(0), rtol=0, atol=1e-5)
    torch.testing.assert_close(second.var(0), train.x[train.cond == PAIR[1]].var(0), rtol=1e-4, atol=1e-5)
    others = train.cond != PAIR[1]
    assert torch.equal(moved.x[others], train.x[others])


def test_corruptions_keep_the_shape_and_change_the_statistics() -> None:
    x = digits.split("train").x[:300]
    for name, corrupt in CORRUPTIONS.items():
        assert corrupt(x).shape == x.shape
        assert torch.equal(corrupt(x), x) == (name == "none")
    assert CORRUPTIONS["noise"](x).var() > x.var() + 0.2
    assert CORRUPTIONS["blur"](x).var() < x.var()
    torch.testing.assert_close(CORRUPTIONS["blur"](torch.ones(1, 1, 8, 8)), torch.ones(1, 1, 8, 8))
    torch.testing.assert_close(CORRUPTIONS["shifted"](x).std(), 0.5 * x.std())


def test_a_prior_without_a_fallback_refuses_the_unseen_label() -> None:
    assert UNSEEN not in everything(without_nines())[1]
    assert UNSEEN in everything(without_nines("test"))[1]
    prior = Prior.create("gmm", conditions=10).fit(without_nines().batches())
    with pytest.raises(InputError, match='unseen="pooled"'):
        prior.sample(torch.tensor([UNSEEN]))


def test_the_gap_is_in_the_test_split_alone() -> None:
    for split, inside in (("train", False), ("test", True)):
        _, cond = everything(moons_with_a_gap(split))
        assert bool(((cond >= GAP[0]) & (cond <= GAP[1])).any()) == inside


def test_the_few_are_chosen_class_by_class() -> None:
    two = few_digits("train", count=2, seed=0)
    assert two.cond is not None
    assert two.cond.bincount().tolist() == [2] * 10
    assert len(few_digits("train", count=10_000)) == len(digits.split("train"))
    assert torch.equal(few_digits("test", count=2).x, digits.split("test").x)
    assert not torch.equal(two.x, few_digits("train", count=2, seed=1).x)


def test_deviation_within_classes_leaves_the_means_out() -> None:
    labels = torch.arange(4000) % 2
    x = 0.5 * torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)) + 10 * labels[:, None]
    assert abs(float(within_class_deviation(x, labels)) - 0.5) < 0.01


def test_noise_is_told_from_clean_digits_by_the_priors_log_density(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(out_of_distribution, "SCORERS", {"gmm": "gmm:reg_covar=0.01"})
    rows = out_of_distribution.densities(0)
    found = {row["condition"]: row["value"] for row in rows if row["metric"] == "auroc"}
    assert found["noise"] > 0.95
    assert found["none"] == 0.5
