"""Several references with samples for their own conditions: each is evaluated as it would be alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from flowprior.data import Data, TensorData
from flowprior.errors import OptionError
from flowprior.evaluation import joined, sweep, sweep_each
from flowprior.features import Classifier
from flowprior.flow import Flow


def test_each_reference_has_the_values_that_it_has_alone(
    tiny_flow: Flow, digits: tuple[Data, Data], classifier: Classifier
) -> None:
    x, labels = digits[1].batch(torch.arange(200))
    assert isinstance(labels, torch.Tensor)
    few = TensorData(x, labels, classes=10, is_image=True)
    options: dict[str, Any] = {"nfe": [0, 2], "samples": 40, "metrics": ["w2", "curvature"]}
    options |= {"classifier": classifier}
    results = sweep_each(tiny_flow, digits[0], {"all": digits[1], "few": few}, **options)
    found = joined(results)
    for name, data in {"all": digits[1], "few": few}.items():
        alone = sweep(tiny_flow, digits[0], references={name: data}, **options)
        assert found.value("w2_squared", 2, split=name) == alone.value("w2_squared", 2)
        assert found.value("curvature", split=name) == alone.value("curvature")
        assert found.real_data_score("w2_squared", name) == alone.real_data_score("w2_squared")
        assert results[name].settings["reference"] in found.settings["reference"]
    assert found.value("w2_squared", 2, split="all") != found.value("w2_squared", 2, split="few")
    assert len(found.select(metric="seconds", nfe=2)) == 1
    assert len(found.select(metric="transport_cost")) == 1


def test_no_reference_is_refused(tiny_flow: Flow, digits: tuple[Data, Data]) -> None:
    with pytest.raises(OptionError, match="give one or more by name"):
        sweep_each(tiny_flow, digits[0], {})
