"""What every registered metric keeps: it says what it gives, gives no more, repeats itself, is documented."""

from __future__ import annotations

import math
from functools import partial

import pytest

from flowprior.data import Data
from flowprior.errors import OptionError
from flowprior.evaluation import evaluate
from flowprior.features.classifier import Classifier
from flowprior.flow import Flow
from flowprior.metrics import FlowMetric, Metric, MetricInfo, SampleMetric
from flowprior.metrics.base import ORDER, StepMetric, select
from flowprior.metrics.setup import Reference, Setup

Metric.available()  # loads those of extensions
OURS = [r.name for r in Metric.registry.records() if r.factory.__module__.startswith("flowprior.")]
QUICKLY = {"kid": "kid:subsets=3,subset_size=20"}


@pytest.fixture(scope="module")
def setup(tiny_flow: Flow, digits: tuple[Data, Data], classifier: Classifier) -> Setup:
    training, reference = Reference(digits[0], "training"), Reference(digits[1], "test")
    return Setup(tiny_flow, training, reference, 40, 3, classifier, [classifier])


def test_results_have_a_known_order() -> None:
    modules = {name: Metric.record(name).factory.__module__ for name in OURS}
    assert set(ORDER) >= {name for name in OURS if not modules[name].startswith("flowprior.extensions.")}


@pytest.mark.parametrize("name", OURS)
def test_it_says_what_its_values_are_or_what_it_lacks(name: str, setup: Setup) -> None:
    metric = Metric.create(name)
    assert isinstance(metric, SampleMetric | StepMetric | FlowMetric)
    assert metric.name == name
    columns = metric.columns(setup)
    assert columns or metric.lacks(setup) != "something"
    ranked = [value for value, info in columns.items() if info.better and not isinstance(metric, FlowMetric)]
    for value in ranked if metric.names is not None else ():
        assert any(f"{value}-".startswith(f"{known}-") for known in metric.names or ())
    for info in columns.values():
        assert info.description
        assert info.samples > 0
        assert info.better in ("", "lower", "higher")
        assert MetricInfo.from_dict(vars(info) | {"floor": 1.0}) == info  # a file of an older version


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("name", OURS)
def test_its_values_are_those_it_named_and_the_same_again(
    name: str, setup: Setup, tiny_flow: Flow, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowprior.metrics.bits.FEW_LIKELIHOODS", 4)
    monkeypatch.setattr("flowprior.metrics.c2st.MOST_EPOCHS", 4)
    (metric,) = select(QUICKLY.get(name, name))
    named = set(metric.columns(setup))
    options = {"nfe": [2], "samples": 40, "seed": 3, "classifier": classifier}
    measure = partial(
        evaluate, tiny_flow, setup.data, reference=setup.reference.data, metrics=metric, **options
    )
    if not named:
        with pytest.raises(OptionError, match=f"none of the metrics can be computed: {name} needs "):
            measure()
        return
    found, again = measure(), measure()
    values = {row["metric"]: row["value"] for row in found.rows if row["flow"] != "real data"}
    values = {key: value for key, value in values.items() if key != "seconds" and "transport" not in key}
    assert {key.removesuffix("-std") for key in values} == named
    assert all(math.isfinite(value) for value in values.values())
    for key, value in values.items():
        (row,) = [row for row in again.rows if row["metric"] == key and row["flow"] != "real data"]
        assert row["value"] == value
