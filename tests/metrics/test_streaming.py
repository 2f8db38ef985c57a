"""Metrics in somebody's own loop: update, compute, reset, beside the pure functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from flowprior.errors import InputError
from flowprior.metrics import (
    Metric,
    TwoSampleMetric,
    frechet_distance,
    precision_recall,
    sliced_wasserstein2_per_condition,
    wasserstein2_per_condition,
)
from flowprior.metrics.c2st import c2st
from flowprior.metrics.kernel import polynomial_mmd2

Metric.available()  # loads those of extensions
KINDS: dict[str, Any] = {record.name: record.factory for record in Metric.registry.records()}
STREAMED = [name for name, kind in KINDS.items() if issubclass(kind, TwoSampleMetric)]
OPTIONS = {"kid": {"subsets": 1}, "c2st": {"hidden": 8}}
Clouds = dict[bool, tuple[Tensor, Tensor]]


@pytest.fixture
def clouds(generator: torch.Generator) -> Clouds:
    """Rows and labels of 120 real samples, under True, and of 100 generated ones."""
    real = torch.randn(120, 12, generator=generator).relu()
    generated = 0.8 * torch.randn(100, 12, generator=generator) + 0.3
    return {True: (real, torch.arange(120) % 3), False: (generated, torch.arange(100) % 3)}


def streamed(metric: Any, clouds: Clouds, size: int) -> dict[str, float]:
    """The values after batches of ``size``."""
    for real, (x, cond) in clouds.items():
        for part, labels in zip(x.split(size), cond.split(size), strict=True):
            metric.update(part, labels, real=real)
    return metric.compute()


def pure(clouds: Clouds) -> dict[str, float]:
    """The values of the pure functions on everything at once."""
    (y, cond_y), (x, cond) = clouds[True], clouds[False]
    w2, sliced = wasserstein2_per_condition, sliced_wasserstein2_per_condition

    def frechet(a: Tensor, b: Tensor) -> float:
        return frechet_distance(*(part for c in (a, b) for part in (c.double().mean(0), c.double().T.cov())))

    return {
        "fid": frechet(x, y),
        "fid-within": float(np.mean([frechet(x[cond == label], y[cond_y == label]) for label in range(3)])),
        "kid": polynomial_mmd2(x, y[torch.randperm(120, generator=torch.Generator().manual_seed(0))[:100]]),
        "c2st": c2st(y[:100], x, hidden=8),
        **precision_recall(y, x)._asdict(),
        "w2_squared": float(np.mean([*w2(x, cond, y, cond_y).values()])),
        "sliced_w2_squared": float(np.mean([*sliced(x, cond, y, cond_y).values()])),
    }


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("name", STREAMED)
def test_batches_of_any_size_give_the_value_of_the_pure_function(
    name: str, clouds: Clouds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowprior.metrics.c2st.MOST_EPOCHS", 4)
    metric = Metric.create(name, **OPTIONS.get(name, {}))
    found = streamed(metric, clouds, 7)
    expected = pure(clouds)
    assert found == pytest.approx({key: expected[key] for key in found}, rel=1e-9)
    assert metric.compute() == found
    metric.reset()
    for real in (True, False):  # both are needed
        with pytest.raises(InputError, match="call update first"):
            metric.compute()
        metric.update(*clouds[real], real=real)
    assert metric.compute() == pytest.approx(found, rel=1e-9)


def test_a_batch_may_be_filled_anew_after_it_was_given() -> None:
    metric, kept = Metric.create("w2"), Metric.create("w2")
    buffer = torch.zeros(4, 2)
    for number, real in ((0, True), (1, True), (1, False), (3, False)):
        metric.update(buffer.fill_(number), real=real)
        kept.update(torch.full((4, 2), float(number)), real=real)
    assert metric.compute() == kept.compute() != {"w2_squared": 0.0}
