"""Several samplers, guidances, seeds and references in one evaluation, and the prior alone."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flowprior.data import Data, TensorData
from flowprior.data.splits import draw_indices
from flowprior.errors import OptionError
from flowprior.evaluation import Result, evaluate
from flowprior.evaluation.evaluating import joined
from flowprior.evaluation.request import batch_size_for
from flowprior.features.classifier import Classifier
from flowprior.flow import Flow
from flowprior.metrics import wasserstein2_per_condition
from flowprior.samplers.base import Solution
from tests.gaussian_flow import flow_of

OPTIONS: dict[str, Any] = {"nfe": (1, 2), "samples": 40, "metrics": ["w2", "accuracy"]}


@pytest.fixture
def run(tiny_flow: Flow, digits: tuple[Data, Data], classifier: Classifier) -> Any:
    """Evaluate the tiny flow."""

    def call(**options: Any) -> Result:
        chosen = {"reference": digits[1], "classifier": classifier, **OPTIONS, **options}
        return evaluate(tiny_flow, digits[0], **chosen)

    return call


def test_several_are_what_each_is_alone(run: Any) -> None:
    found = run(sampler=["euler", "heun"], seed=[3, 4])
    for sampler in ("euler", "heun"):
        for seed in (3, 4):
            alone = run(sampler=sampler, seed=seed)
            ours = found.select(sampler=(sampler, None), seed=seed)
            assert len(ours) == len(alone.rows)
            for one, other in zip(ours, alone.rows, strict=True):
                assert {**one, "value": 0} == {**other, "value": 0}
                if one["metric"] != "seconds":
                    assert one["value"] == pytest.approx(other["value"], rel=1e-5)


def test_balanced_conditions_are_the_labels_in_turn(
    run: Any, tiny_flow: Flow, classifier: Classifier
) -> None:
    found = run(conditions="balanced", metrics=["accuracy"], nfe=2)
    labels = torch.arange(40) % 10
    x = tiny_flow.sample(labels, nfe=2, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    assert found.value("accuracy", 2) == pytest.approx(classifier.accuracy(x, labels))
    assert found.settings["conditions"] == "balanced"
    with pytest.raises(OptionError, match="conditions='balanced' needs labels"):
        evaluate(flow_of(lambda x, t, cond: x), torch.zeros(20, 3), conditions="balanced")


def test_what_no_sampler_can_spend_is_noted_or_refused(run: Any) -> None:
    found = run(sampler=["euler", "rk4"])
    assert {row["sampler"] for row in found.rows} == {"euler", None}
    assert sum("left out: sampler 'rk4'" in note for note in found.notes) == 2
    for nfe in ((1, 2), (0, 2)):  # the prior alone is no evaluation that a sampler spends
        with pytest.raises(OptionError, match="a step takes 4"):
            run(sampler="rk4", nfe=nfe)


def test_the_prior_alone_begins_every_evaluation_and_is_sampled_once_a_seed(
    run: Any, tiny_flow: Flow, digits: tuple[Data, Data], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_flow, "metadata", {})  # no record of its training, so that it may be guided
    spent: list[int | None] = []

    def solve(*arguments: Any, **options: Any) -> Solution:
        spent.append(options["nfe"])
        return tiny_flow.solve(*arguments, **options)

    options = {"sampler": ["euler", "bosh3"], "guidance": [1.0, 2.0], "seed": 3, "nfe": (0, 2)}
    found = run(**options, metrics=["w2", "truncation", "curvature"], generate=solve)
    assert spent.count(0) == 1
    prior = found.select(nfe=0, seed=3)
    assert len({(row["sampler"], row["guidance"]) for row in prior}) == 4
    assert {row["metric"] for row in prior} == {"w2_squared", "seconds"}  # no steps, so no error of steps
    assert len({(row["metric"], row["value"]) for row in prior}) == 2
    assert found.value("global_error", 2, sampler="euler", guidance=1.0) > 0
    _, cond = digits[1].batch(draw_indices(digits[1], 40, torch.Generator().manual_seed(3)))
    source = tiny_flow.coupling.source(tiny_flow.prior, cond, generator=torch.Generator().manual_seed(3))
    real, labels = digits[1].batch(torch.arange(len(digits[1])))
    distances = wasserstein2_per_condition(source.clamp(-1, 1), cond, real, labels, 500)
    assert found.value("w2_squared", 0) == pytest.approx(statistics.fmean(distances.values()), rel=1e-9)


def test_numbers_may_be_numpys(run: Any, tmp_path: Path) -> None:
    numbers = {"nfe": np.array([1]), "seed": np.int64(0), "guidance": [np.float32(1)]}
    counts = {name: np.int64(40) for name in ("samples", "batch_size")} | {"members": np.int32(1)}
    found = run(metrics="w2", **numbers, **counts)
    found.save(tmp_path / "result.json")  # JSON knows no NumPy
    plain = run(metrics="w2", nfe=1, samples=40, batch_size=40)
    assert found.value("w2_squared", 1) == plain.value("w2_squared", 1)


def test_samples_of_a_function_take_the_place_of_the_flows(run: Any, tiny_flow: Flow) -> None:
    def generate(*arguments: Any, **options: Any) -> Solution:
        solution = tiny_flow.solve(*arguments, **options)
        return Solution(-solution.x, solution.nfe, solution.times)

    own, other = run(), run(generate=generate)
    assert other.value("accuracy", 2) != own.value("accuracy", 2)
    assert other.value("transport_cost") == own.value("transport_cost")


def test_joined_references_have_the_values_that_each_has_alone(run: Any, digits: tuple[Data, Data]) -> None:
    x, cond = digits[1].batch(torch.arange(200))
    data = {"all": digits[1], "few": TensorData(x, cond, classes=10, is_image=True)}
    results = {
        name: run(reference=part, split=name, metrics=["w2", "curvature"]) for name, part in data.items()
    }
    found = joined(results)
    for name, alone in results.items():
        assert found.value("w2_squared", 2, split=name) == alone.value("w2_squared", 2)
        assert found.value("curvature", split=name) == alone.value("curvature")
        assert found.real_data_score("w2_squared", name) == alone.real_data_score("w2_squared")
        assert alone.settings["reference"] in found.settings["reference"]
    assert found.value("w2_squared", 2, split="all") != found.value("w2_squared", 2, split="few")
    assert [len(found.select(metric=name)) for name in ("seconds", "transport_cost")] == [2, 1]


def test_samples_at_once_are_fewer_of_large_events(run: Any) -> None:
    assert run(nfe=[1], metrics="w2").settings["batch_size"] == 500
    assert batch_size_for(flow_of(lambda x, t, cond: x, event=(3, 256, 256))) == 10
