"""Contrastive heads: they find held-out conditions, see mismatches, repeat, and refuse what does not fit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowprior.errors import InputError
from flowprior.features import PairHeads, contrastive, train_heads


def pairs(generator: torch.Generator, count: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Embeddings, and features that follow from them by a fixed map with noise."""
    mix = torch.randn(12, 40, generator=torch.Generator().manual_seed(seed))
    cond = torch.randn(count, 12, generator=generator)
    features = (cond @ mix).relu() + 0.5 * torch.randn(count, 40, generator=generator)
    return features, cond


@pytest.fixture(scope="module")
def heads() -> PairHeads:
    return train_heads(*pairs(torch.Generator().manual_seed(3), 1500))


def test_an_unseen_condition_is_found_among_a_hundred(heads: PairHeads, generator: torch.Generator) -> None:
    features, cond = pairs(generator, 100)
    found = heads.score(features, cond)
    assert found.top1 > 0.6
    assert found.cosine > 0.5
    mixed = heads.score(features, cond.roll(1, 0))
    assert mixed.top1 < 0.1
    assert mixed.cosine < 0.2


def test_worse_pictures_score_less(heads: PairHeads, generator: torch.Generator) -> None:
    features, cond = pairs(generator, 100)
    noisy = features + 6 * torch.randn(features.shape, generator=generator)
    assert heads.score(noisy, cond).cosine < 0.8 * heads.score(features, cond).cosine
    assert heads.score(noisy, cond).top1 < heads.score(features, cond).top1


def test_pictures_of_one_condition_are_all_right(heads: PairHeads, generator: torch.Generator) -> None:
    features, cond = pairs(generator, 20)
    once, thrice = heads.score(features, cond), heads.score(features.repeat(3, 1), cond.repeat(3, 1))
    assert thrice == pytest.approx(once, rel=1e-5)
    assert heads.score(features, cond, among=1).top1 == 1.0


def test_the_seed_decides_the_heads_and_global_randomness_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contrastive, "STEPS", 20)
    data = pairs(torch.Generator().manual_seed(3), 60)
    torch.manual_seed(1)
    first = train_heads(*data, seed=4).state_dict()
    torch.manual_seed(2)
    again, other = (train_heads(*data, seed=seed).state_dict() for seed in (4, 5))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["image.weight"], other["image.weight"])


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match=r"got \[4, 3\] and \[5, 2\]"):
        train_heads(torch.zeros(4, 3), torch.zeros(5, 2))
    with pytest.raises(InputError, match="at least two distinct conditions"):
        train_heads(torch.zeros(4, 3), torch.zeros(4, 2))
