"""A warning where few test examples judge, once, with what to do."""

from __future__ import annotations

import warnings

import pytest
import torch

from flowprior import evaluate, train
from flowprior.data import TensorData
from flowprior.evaluation.request import FEW, warn_of_few
from flowprior.metrics import Metric
from flowprior.metrics.setup import Reference


def split(count: int, name: str) -> TensorData:
    return TensorData(torch.randn(count, 2, generator=torch.Generator().manual_seed(0)), name=name)


def test_an_evaluation_against_six_examples_warns_once_and_says_what_is_usual():
    flow = train(split(50, "whole"), prior="gaussian", coupling="condot", model="mlp:width=8", steps=1)
    options = {"nfe": [1], "samples": 8, "metrics": ["w2", "sliced-w2"], "progress": False}
    with pytest.warns(RuntimeWarning) as caught:
        evaluate(flow, split(50, "whole"), reference=split(6, "six"), **options)
    (message,) = [str(one.message) for one in caught if "evaluate" in str(one.message)]
    assert "got 6 test examples of six" in message
    assert "w2 some hundred of each label" in message
    assert "hold more out (test_fraction=)" in message
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate(flow, split(50, "whole"), reference=split(6, "six"), **options)


@pytest.mark.parametrize(("count", "metric"), [(FEW, "sliced-w2"), (FEW - 1, "curvature"), (FEW - 1, "nll")])
def test_enough_examples_and_metrics_that_see_none_are_not_warned_of(count, metric):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_few([Reference(split(count, "enough"), "test")], [Metric.create(metric)])
    assert not caught
