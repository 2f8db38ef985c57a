"""Sweeps: the values of single evaluations, several splits; no finished value is computed again."""

from __future__ import annotations

import copy
import inspect
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flowprior.couplings import Coupling
from flowprior.data import Data, TensorData
from flowprior.data.splits import draw_indices
from flowprior.errors import OptionError
from flowprior.evaluation import Result, evaluate, request, sweep
from flowprior.evaluation.request import batch_size_for
from flowprior.evaluation.sweep import joined, sweep_each
from flowprior.evaluation.values import halving
from flowprior.features.classifier import Classifier
from flowprior.flow import Flow
from flowprior.metrics import wasserstein2_per_condition
from flowprior.paths import Path as FlowPath
from flowprior.priors import Prior
from flowprior.samplers.base import Solution
from tests.gaussian_flow import flow_of

OPTIONS: dict[str, Any] = {"nfe": (1, 2), "samples": 40, "metrics": ["w2", "accuracy"]}
STRAIGHT = (Coupling.create("condot"), FlowPath.create("condot"))
Run = Any


@pytest.fixture
def run(tiny_flow: Flow, digits: tuple[Data, Data], classifier: Classifier) -> Run:
    """Sweep the tiny flow, or another one."""

    def call(flow: Flow = tiny_flow, **options: Any) -> Result:
        chosen = {"reference": digits[1], "classifier": classifier, **OPTIONS, **options}
        return sweep(flow, digits[0], **chosen)

    return call


@pytest.fixture
def solves(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    """(nfe, sampler's name) of every solve."""
    found: list[tuple[Any, Any]] = []
    solve = Flow.solve

    def counting(self: Flow, *arguments: Any, **options: Any) -> Any:
        found.append((options["nfe"], options["sampler"].name))
        return solve(self, *arguments, **options)

    monkeypatch.setattr(Flow, "solve", counting)
    return found


def test_each_evaluation_is_that_of_evaluate(
    run: Run, tiny_flow: Flow, digits: tuple[Data, Data], classifier: Classifier
) -> None:
    found = run(samplers=["euler", "heun"], seeds=[3, 4])
    for sampler in ("euler", "heun"):
        for seed in (3, 4):
            options = {"reference": digits[1], "classifier": classifier, "sampler": sampler, "seed": seed}
            alone = evaluate(tiny_flow, digits[0], **options, **OPTIONS)
            ours = found.select(sampler=(sampler, None), seed=seed)
            assert len(ours) == len(alone.rows)
            for one, other in zip(ours, alone.rows, strict=True):
                assert {**one, "value": 0} == {**other, "value": 0}
                if one["metric"] != "seconds":
                    assert one["value"] == pytest.approx(other["value"], rel=1e-5)


def test_samples_are_compared_with_every_split_and_generated_once(
    run: Run, digits: tuple[Data, Data], solves: list[tuple[Any, Any]], tmp_path: Path
) -> None:
    parts = {"test": digits[1], "validation": part(digits[1], 200)}
    options = {"metrics": ["w2", "accuracy", "truncation"], "folder": tmp_path, "nfe": (0, 2)}
    found = run(reference=None, references=parts, **options)
    assert [nfe for nfe, _ in solves] == [0, 2]
    for split, data in parts.items():
        (row,) = found.select(metric="w2_squared", nfe=2, split=split)
        assert row["reference"].startswith(f"{len(data)} {split} examples")
        assert found.real_data_score("w2_squared", split) is not None
    assert found.value("accuracy", 2) == found.value("accuracy", 2, split="validation")  # of the same samples
    assert found.value("w2_squared", 2, split="test") != found.value("w2_squared", 2, split="validation")
    assert {row["split"] for row in found.select(metric="global_error")} == {"test"}
    alone = run(nfe=(0, 2), metrics=["w2"])
    for nfe in (0, 2):
        assert found.value("w2_squared", nfe, split="test") == alone.value("w2_squared", nfe)
    again = run(reference=None, references=parts, **options)
    assert len(solves) == 4
    assert again == found
    with pytest.raises(OptionError, match="give either reference"):
        run(references=parts)


def part(data: Data, count: int) -> TensorData:
    """The first ``count`` digits."""
    x, cond = data.batch(torch.arange(count))
    return TensorData(x, cond, classes=10, is_image=True)


def test_balanced_conditions_are_the_labels_in_turn(
    run: Run, tiny_flow: Flow, classifier: Classifier, tmp_path: Path
) -> None:
    found = run(conditions="balanced", metrics=["accuracy"], nfe=[2], folder=tmp_path)
    labels = torch.arange(40) % 10
    x = tiny_flow.sample(labels, nfe=2, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    assert found.value("accuracy", 2) == pytest.approx(classifier.accuracy(x, labels))
    assert found.settings["conditions"] == "balanced"
    assert run(metrics=["accuracy"], nfe=[2], folder=tmp_path).rows != found.rows
    points = TensorData(torch.zeros(20, 1, 8, 8))
    bare = Flow(tiny_flow.model, Prior.create("gaussian").fit(points.batches()), *STRAIGHT, points.condition)
    with pytest.raises(OptionError, match="conditions='balanced' needs labels"):
        sweep(bare, points, conditions="balanced")


def test_finished_values_are_not_computed_again(
    run: Run, tmp_path: Path, solves: list[tuple[Any, Any]]
) -> None:
    first = run(folder=tmp_path)
    assert solves == [(1, "euler"), (2, "euler")]
    again = run(folder=tmp_path)
    assert len(solves) == 2
    assert again == first
    run(folder=tmp_path, nfe=(1, 2, 3), samplers=["euler:grid=uniform"])
    assert solves[2:] == [(3, "euler")]


def test_no_classifier_is_trained_where_no_metric_looks_at_it(
    tiny_flow: Flow, digits: tuple[Data, Data], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request, "data_classifier", lambda data: pytest.fail("it was trained"))
    without = ["memorisation", "w2", "sliced-w2", "curvature"]
    found = sweep(tiny_flow, digits[0], reference=digits[1], nfe=[1], samples=40, metrics=without)
    assert {"memorisation", "w2_squared"} <= {row["metric"] for row in found.select(nfe=1)}
    with pytest.raises(pytest.fail.Exception, match="it was trained"):
        sweep(tiny_flow, digits[0], reference=digits[1], nfe=[1], samples=40, metrics=["accuracy"])


@pytest.mark.parametrize(
    "change", [{"seeds": [1]}, {"samples": 41}, {"metrics": "fid"}, {"samplers": ["euler:grid=cosine"]}]
)
def test_other_settings_are_computed(
    run: Run, tmp_path: Path, solves: list[tuple[Any, Any]], change: dict[str, Any]
) -> None:
    run(folder=tmp_path)
    run(folder=tmp_path, **change)
    assert len(solves) == 4


def test_other_weights_are_computed(
    run: Run, tiny_flow: Flow, tmp_path: Path, solves: list[tuple[Any, Any]]
) -> None:
    run(folder=tmp_path)
    trained_on = copy.deepcopy(tiny_flow)
    with torch.no_grad():
        next(iter(trained_on.model.parameters())).add_(0.01)  # type: ignore[union-attr]
    run(trained_on, folder=tmp_path)
    assert len(solves) == 4


def test_an_interrupted_sweep_goes_on_where_it_stopped(
    run: Run, tmp_path: Path, solves: list[tuple[Any, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        counted = Flow.solve

        def stop(self: Flow, *arguments: Any, **options: Any) -> Any:
            if options["nfe"] == 2:
                raise KeyboardInterrupt
            return counted(self, *arguments, **options)

        patch.setattr(Flow, "solve", stop)
        with pytest.raises(KeyboardInterrupt):
            run(folder=tmp_path)
    run(folder=tmp_path)
    assert solves == [(1, "euler"), (2, "euler")]


def test_what_one_sampler_cannot_spend_is_noted_and_none_is_refused(run: Run) -> None:
    found = run(samplers=["euler", "rk4"])
    assert {row["sampler"] for row in found.rows} == {"euler", None}
    assert sum("left out: sampler 'rk4'" in note for note in found.notes) == 2
    with pytest.raises(OptionError, match="a step takes 4"):
        run(samplers=["rk4"])


def test_the_prior_alone_begins_every_evaluation_and_is_sampled_once_a_seed(
    run: Run,
    tiny_flow: Flow,
    digits: tuple[Data, Data],
    tmp_path: Path,
    solves: list[tuple[Any, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tiny_flow, "metadata", {})  # no record of its training, so that it may be guided
    options = {"samplers": ["euler", "bosh3"], "guidances": [1.0, 2.0], "seeds": [3], "nfe": (0, 2)}
    found = run(**options, metrics=["w2", "truncation", "curvature"], folder=tmp_path)
    cells = dict.fromkeys((row["sampler"], row["guidance"]) for row in found.rows if row["nfe"] is not None)
    assert len(cells) == 4
    values = {}
    for sampler, guidance in cells:
        rows = [row for row in found.select(sampler=sampler, guidance=guidance) if row["nfe"] is not None]
        first = {row["metric"]: row["value"] for row in rows if row["nfe"] == 0}
        values = values or first
        assert first == values
        assert set(first) == {"w2_squared", "seconds"}  # no steps, so no error of steps
        assert next(row["nfe"] for row in rows) == 0
        assert len({row["nfe"] for row in rows}) == 2
    assert found.value("global_error", 2, sampler="euler", guidance=1.0) > 0
    assert [nfe for nfe, _ in solves].count(0) == 1
    _, cond = digits[1].batch(draw_indices(digits[1], 40, torch.Generator().manual_seed(3)))
    source = tiny_flow.coupling.source(tiny_flow.prior, cond, generator=torch.Generator().manual_seed(3))
    real, labels = digits[1].batch(torch.arange(len(digits[1])))
    distances = wasserstein2_per_condition(source.clamp(-1, 1), cond, real, labels, 500)
    assert values["w2_squared"] == pytest.approx(statistics.fmean(distances.values()), rel=1e-9)
    run(**options, metrics=["w2"], folder=tmp_path)
    assert [nfe for nfe, _ in solves].count(0) == 1


def test_numbers_may_be_numpys(run: Run, tmp_path: Path) -> None:
    numbers = {"nfe": np.array([1]), "seeds": [np.int64(0)], "guidances": [np.float32(1)]}
    counts = {name: np.int64(40) for name in ("samples", "batch_size")} | {"members": np.int32(1)}
    found = run(metrics="w2", folder=tmp_path, **numbers, **counts)
    found.save(tmp_path / "result.json")  # JSON knows no NumPy
    plain = run(metrics="w2", nfe=[1], samples=40, batch_size=40)
    assert found.value("w2_squared", 1) == plain.value("w2_squared", 1)


def test_the_prior_alone_is_there_by_default_and_is_no_evaluation_that_a_sampler_spends(run: Run) -> None:
    for function in (sweep, evaluate):
        assert inspect.signature(function).parameters["nfe"].default[0] == 0
    assert {row["sampler"] for row in run(nfe=[0], samplers=["euler", "bosh3"]).select(nfe=0)} == {
        "euler",
        "bosh3",
    }
    with pytest.raises(OptionError, match="a step takes 4"):
        run(samplers=["rk4"], nfe=[0, 2])


def test_samples_of_a_function_are_neither_kept_nor_mistaken_for_the_flows(
    run: Run, tiny_flow: Flow, tmp_path: Path
) -> None:
    def generate(*arguments: Any, **options: Any) -> Solution:
        solution = tiny_flow.solve(*arguments, **options)
        return Solution(-solution.x, solution.nfe, solution.times)

    own = run(folder=tmp_path)
    other = run(folder=tmp_path, generate=generate)
    assert other.rows != own.rows
    again = run(generate=generate)
    assert other.value("accuracy", 2) == again.value("accuracy", 2) != own.value("accuracy", 2)
    assert run(folder=tmp_path) == own


@pytest.mark.parametrize(
    ("options", "words"),
    [({"seeds": []}, "seeds="), ({"seeds": [-1]}, "seed=-1"), ({"batch_size": 0}, "batch_size=0")],
)
def test_impossible_calls_are_refused(run: Run, options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        run(**options)


def test_each_reference_has_the_values_that_it_has_alone(
    tiny_flow: Flow, digits: tuple[Data, Data], classifier: Classifier
) -> None:
    parts = {"all": digits[1], "few": part(digits[1], 200)}
    options: dict[str, Any] = {**OPTIONS, "metrics": ["w2", "curvature"], "classifier": classifier}
    results = sweep_each(tiny_flow, digits[0], parts, **options)
    found = joined(results)
    for name, data in parts.items():
        alone = sweep(tiny_flow, digits[0], references={name: data}, **options)
        assert found.value("w2_squared", 2, split=name) == alone.value("w2_squared", 2)
        assert found.value("curvature", split=name) == alone.value("curvature")
        assert found.real_data_score("w2_squared", name) == alone.real_data_score("w2_squared")
        assert results[name].settings["reference"] in found.settings["reference"]
    assert found.value("w2_squared", 2, split="all") != found.value("w2_squared", 2, split="few")
    assert [len(found.select(metric=name)) for name in ("seconds", "transport_cost")] == [2, 1]


def test_no_reference_is_refused(tiny_flow: Flow, digits: tuple[Data, Data]) -> None:
    with pytest.raises(OptionError, match="give one or more by name"):
        sweep_each(tiny_flow, digits[0], {})


def test_samples_at_once_are_fewer_of_large_events_and_halved_until_they_fit(run: Run) -> None:
    assert run(nfe=[1], metrics="w2").settings["batch_size"] == 500
    assert batch_size_for(flow_of(lambda x, t, cond: x, event=(3, 256, 256))) == 10
    tried: list[int] = []

    def generate(size: int) -> str:
        tried.append(size)
        if size > 70:
            raise torch.OutOfMemoryError("out")
        return "done"

    assert halving(generate, 300) == ("done", 37)
    assert tried == [300, 150, 75, 37]
    with pytest.raises(torch.OutOfMemoryError):
        halving(lambda size: generate(71), 4)
