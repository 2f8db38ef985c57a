"""Digits as the studies take them: what the training split lacks, and how far images lie from their mean."""

from __future__ import annotations

import pytest
import torch

from benchmarks.studies import everything
from benchmarks.studies.digits import UNSEEN, within_class_deviation, without_nines
from flowprior import Prior
from flowprior.errors import InputError


def test_a_prior_without_a_fallback_refuses_the_unseen_label() -> None:
    assert UNSEEN not in everything(without_nines())[1]
    assert UNSEEN in everything(without_nines("test"))[1]
    prior = Prior.create("gmm", conditions=10).fit(without_nines().batches())
    with pytest.raises(InputError, match='unseen="pooled"'):
        prior.sample(torch.tensor([UNSEEN]))


def test_deviation_within_classes_leaves_the_means_out() -> None:
    labels = torch.arange(4000) % 2
    x = 0.5 * torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)) + 10 * labels[:, None]
    assert abs(float(within_class_deviation(x, labels)) - 0.5) < 0.01
