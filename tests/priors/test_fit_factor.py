"""The factor of a mapper's residuals: how often the mapper is asked, and that it gives the same factor."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowprior.data.stream import CheckedBatches
from flowprior.mixtures import FitSettings
from flowprior.priors import residuals
from flowprior.priors.residuals import PASSES, fit_factor

ROWS, BATCHES = 400, 4
ALONG = torch.tensor([1.0, -2.0, 0.5])


class CountingMean:
    """Twice the condition, and how often it was asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, cond: Tensor) -> Tensor:
        self.calls += 1
        return 2 * cond


def fitted() -> tuple[Tensor, Tensor, int]:
    """W, ψ and the calls of the mapper, on rows around 2 c whose residuals lie along one direction."""
    generator = torch.Generator().manual_seed(0)
    cond = torch.randn(ROWS, 3, generator=generator)
    along = torch.randn(ROWS, 1, generator=generator) * ALONG
    x = 2 * cond + along + 0.1 * torch.randn(ROWS, 3, generator=generator)
    parts = list(zip(x.split(ROWS // BATCHES), cond.split(ROWS // BATCHES), strict=True))
    mean = CountingMean()
    data = CheckedBatches(parts, "learned-mean")
    factor, noise = fit_factor(data, mean, 1, FitSettings(1e-6, 0.0, torch.Generator().manual_seed(1)))
    return factor, noise, mean.calls


def test_a_mapper_is_asked_once_for_each_row_where_its_residuals_can_be_kept():
    factor, _, calls = fitted()
    direction = torch.nn.functional.normalize(factor[:, 0], dim=0)

    assert calls == BATCHES
    assert float((direction @ (ALONG / ALONG.norm()).to(factor)).abs()) > 0.999


def test_residuals_that_are_too_many_are_found_anew_and_give_the_same_factor(monkeypatch: pytest.MonkeyPatch):
    kept = fitted()
    monkeypatch.setattr(residuals, "MOST_KEPT", ROWS)

    factor, noise, calls = fitted()

    assert calls == BATCHES * (PASSES + 1)
    assert torch.equal(factor, kept[0])
    assert torch.equal(noise, kept[1])
