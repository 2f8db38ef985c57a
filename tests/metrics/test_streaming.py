"""Metrics in somebody's own loop: update, compute, reset, beside the pure functions and torchmetrics."""

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
    kernel_distance,
    precision_recall,
    sliced_wasserstein2_per_condition,
    wasserstein2_per_condition,
)
from flowprior.metrics.frechet import FeatureMoments

STREAMED = ("fid", "kid:subsets=4,subset_size=50", "precision-recall", "w2", "sliced-w2:directions=9")


@pytest.fixture
def clouds(generator: torch.Generator) -> dict[str, Tensor]:
    """Rows of 120 real and 100 generated samples, and their labels."""
    return {
        "real": torch.randn(120, 12, generator=generator).relu(),
        "real_cond": torch.arange(120) % 3,
        "generated": 0.8 * torch.randn(100, 12, generator=generator) + 0.3,
        "generated_cond": torch.arange(100) % 3,
    }


def streamed(spec: str, clouds: dict[str, Tensor], size: int) -> Any:
    """The metric after batches of ``size``, real and generated ones in turn."""
    metric = Metric.registry.resolve(spec)
    parts = {
        name: zip(clouds[name].split(size), clouds[f"{name}_cond"].split(size), strict=True)
        for name in ("real", "generated")
    }
    for name, batches in parts.items():
        for x, cond in batches:
            metric.update(x, cond, real=name == "real")
    return metric


def expected(spec: str, clouds: dict[str, Tensor]) -> dict[str, float]:
    """The values of the pure functions on everything at once."""
    x, y = clouds["generated"], clouds["real"]
    labels = x, clouds["generated_cond"], y, clouds["real_cond"]
    generator = torch.Generator().manual_seed(0)
    if spec == "fid":
        return {"fid": FeatureMoments.of([x]).distance(FeatureMoments.of([y]))}
    if spec.startswith("kid"):
        distance = kernel_distance(y, x, subsets=4, subset_size=50, generator=generator)
        return {"kid": distance.mean, "kid-std": distance.std}
    if spec == "precision-recall":
        return precision_recall(y, x)._asdict()
    if spec == "w2":
        return {"w2_squared": float(np.mean([*wasserstein2_per_condition(*labels).values()]))}
    sliced = sliced_wasserstein2_per_condition(*labels, directions=9)
    return {"sliced_w2_squared": float(np.mean([*sliced.values()]))}


def test_every_metric_of_two_sets_is_here() -> None:
    kinds: dict[str, Any] = {record.name: record.factory for record in Metric.registry.records()}
    ours = {name for name, kind in kinds.items() if kind.__module__.startswith("flowprior.")}
    names = {name for name in ours if issubclass(kinds[name], TwoSampleMetric)}
    assert names == {spec.split(":")[0] for spec in STREAMED}


@pytest.mark.parametrize("size", [7, 200])
@pytest.mark.parametrize("spec", STREAMED)
def test_batches_give_the_value_of_the_pure_function(spec: str, size: int, clouds: dict[str, Tensor]) -> None:
    metric = streamed(spec, clouds, size)
    found = metric.compute()
    assert found == pytest.approx(expected(spec, clouds), rel=1e-9)
    assert metric.compute() == found


@pytest.mark.parametrize("spec", STREAMED)
def test_reset_forgets_every_batch(spec: str, clouds: dict[str, Tensor]) -> None:
    metric = streamed(spec, clouds, 50)
    first = metric.compute()
    metric.reset()
    with pytest.raises(InputError):
        metric.compute()
    metric.update(clouds["real"], clouds["real_cond"], real=True)
    with pytest.raises(InputError):
        metric.compute()
    metric.update(clouds["generated"], clouds["generated_cond"], real=False)
    assert metric.compute() == pytest.approx(first, rel=1e-9)


@pytest.mark.parametrize("spec", ["w2", "sliced-w2"])
def test_without_labels_clouds_are_pooled(spec: str, clouds: dict[str, Tensor]) -> None:
    metric = Metric.registry.resolve(spec)
    for name in ("real", "generated"):
        metric.update(clouds[name], real=name == "real")
    assert metric.compute() != streamed(spec, clouds, 50).compute()


def test_a_batch_may_be_filled_anew_after_it_was_given(clouds: dict[str, Tensor]) -> None:
    metric, kept = Metric.registry.resolve("w2"), Metric.registry.resolve("w2")
    buffer = torch.zeros(4, 2)
    for number in range(2):
        buffer.fill_(number)
        for real in (True, False):
            metric.update(buffer, real=real)
            kept.update(torch.full((4, 2), float(number)), real=real)
    buffer.fill_(7)
    metric.update(torch.ones(1, 2), real=False)
    kept.update(torch.ones(1, 2), real=False)
    assert metric.compute() == kept.compute()


def test_features_of_another_length_are_refused() -> None:
    metric = Metric.registry.resolve("fid")
    metric.update(torch.randn(8, 3), real=True)
    metric.update(torch.randn(8, 1), real=False)
    with pytest.raises(InputError, match=r"expected means \[F\] and covariances"):
        metric.compute()
