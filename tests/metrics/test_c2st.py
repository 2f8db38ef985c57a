"""The classifier two-sample test: the closed form for Gaussians, what is compared, what is refused."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.model_selection import KFold, cross_val_score
from sklearn.neural_network import MLPClassifier
from torch import Tensor

from flowprior.data import TensorData
from flowprior.errors import InputError, OptionError
from flowprior.features.base import NetworkFeatures
from flowprior.metrics import Metric
from flowprior.metrics.c2st import c2st
from flowprior.metrics.setup import Drawn, Reference, Setup
from tests.evaluation.test_evaluate import exact_flow


def compared(x: Tensor, y: Tensor, hidden: int) -> tuple[int, int, float, int]:
    """Sizes and difference of what is compared, in place of an accuracy."""
    return len(x), len(y), float(y.mean() - x.mean()), hidden


def sbibm_c2st(x: Tensor, y: Tensor, seed: int) -> float:
    """The accuracy of sbibm.metrics.c2st, written out anew."""
    standard = (torch.cat([x, y]) - x.mean(0)) / x.std(0)
    target = np.repeat([0.0, 1.0], [len(x), len(y)])
    network = MLPClassifier((10 * x.shape[1],) * 2, max_iter=10_000, random_state=seed)
    folds = KFold(5, shuffle=True, random_state=seed)
    return float(cross_val_score(network, standard.numpy(), target, cv=folds).mean())


def test_the_accuracy_is_that_of_sbibm(generator: torch.Generator) -> None:
    """To within one of 40 rows: float32 rounds differently on other machines."""
    x, y = torch.randn(2, 20, 20, generator=generator).unbind()
    for found in (c2st(x, y + 0.3), sbibm_c2st(x, y + 0.3, seed=1)):
        assert found == pytest.approx(0.75, abs=0.026)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize(("shift", "hidden"), [(0.0, 16), (2.0, 16), (30.0, None)])
def test_shifted_gaussians_have_the_accuracy_of_the_best_classifier(
    generator: torch.Generator, shift: float, hidden: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Φ(‖δ‖/2) is 0.5 without a shift and 1 far away; neither units nor constants matter."""
    monkeypatch.setattr("flowprior.metrics.c2st.MOST_EPOCHS", 100)
    x, y = torch.randn(2, 300, 2, generator=generator).unbind()
    x, y = (torch.cat([1000 * rows, torch.ones(300, 1)], 1) for rows in (x, y + torch.tensor([shift, 0])))
    assert c2st(x, y, hidden=hidden, folds=2) == pytest.approx(NormalDist().cdf(shift / 2), abs=0.06)


def test_samples_are_compared_with_as_many_test_and_training_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real training samples, which are in the training data, are compared with test data alone, each once."""
    monkeypatch.setattr("flowprior.metrics.c2st.c2st", compared)
    training, held_out = TensorData(torch.zeros(12, 2)), TensorData(torch.full((8, 2), 10.0))
    splits = Reference(training, "train"), Reference(held_out, "test")
    flatten = NetworkFeatures(torch.nn.Flatten(), "flat")
    setup = Setup(exact_flow(training), *splits, 15, 0, None, [flatten])
    metric = Metric.create("c2st", hidden=7)
    found = metric.values(setup, Drawn(torch.full((12, 2), 3.0)))
    assert found == {"c2st-flat": (8, 8, -7, 7), "c2st-training-flat": (12, 12, 3, 7)}
    assert metric.values(setup, setup.training_samples) == {"c2st-flat": (8, 8, -10, 7)}
    said = [metric.columns(setup)[name].reference for name in found]
    assert (said, len(setup.training_samples.x)) == ([split.describe() for split in reversed(splits)], 12)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({}, InputError, "of at least 5 rows, got"),
        ({"folds": 1}, OptionError, "folds=1"),
        ({"folds": 2, "hidden": 0}, OptionError, "hidden=0"),
    ],
)
def test_impossible_calls_are_refused(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        c2st(torch.zeros(4, 2), torch.ones(4, 2), **options)
    with pytest.raises(OptionError, match="hidden=0"):
        Metric.create("c2st", hidden=0)
