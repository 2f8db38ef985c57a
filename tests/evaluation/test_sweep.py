"""Sweeps: the figures of single evaluations, spread over seeds; no finished figure is computed again."""

from __future__ import annotations

import copy
import inspect
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch

from flowprior.data import Data
from flowprior.data.proportions import draw_indices
from flowprior.errors import OptionError
from flowprior.evaluation import Sweep, evaluate, request, sweep
from flowprior.features import Classifier
from flowprior.flow import Flow
from flowprior.metrics import wasserstein2_per_condition
from flowprior.samplers import Solution

OPTIONS: dict[str, Any] = {"nfe": (1, 2), "samples": 40, "metrics": ["w2", "accuracy"]}
Run = Any


@pytest.fixture
def run(tiny_flow: Flow, digits: tuple[Data, Data], classifier: Classifier) -> Run:
    """Sweep the tiny flow, or another one."""

    def call(flow: Flow = tiny_flow, **options: Any) -> Sweep:
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
    assert len(found.evaluations) == 4
    for evaluation in found.evaluations:
        alone = evaluate(
            tiny_flow,
            digits[0],
            reference=digits[1],
            classifier=classifier,
            sampler=evaluation.settings["sampler"],
            seed=evaluation.settings["seed"],
            **OPTIONS,
        )
        for ours, theirs in zip(evaluation.rows, alone.rows, strict=True):
            assert {**ours, "seconds": 0} == pytest.approx({**theirs, "seconds": 0}, rel=1e-5)


def test_lines_are_mean_and_deviation_over_seeds(run: Run) -> None:
    found = run(seeds=[0, 1, 2], samplers=["euler", "heun"])
    (line,) = [ln for ln in found.lines() if (ln.sampler, ln.nfe) == ("heun", 2)]
    values = [e.value("w2_squared", 2) for e in found.evaluations if e.settings["sampler"] == "heun"]
    assert len(values) == 3
    assert line.figures["w2_squared"].mean == pytest.approx(statistics.fmean(values))
    assert line.figures["w2_squared"].std == pytest.approx(statistics.stdev(values))
    assert run().lines()[0].figures["w2_squared"].std is None


def test_finished_figures_are_not_computed_again(
    run: Run, tmp_path: Path, solves: list[tuple[Any, Any]]
) -> None:
    first = run(folder=tmp_path)
    assert solves == [(1, "euler"), (2, "euler")]
    again = run(folder=tmp_path)
    assert len(solves) == 2
    assert again.as_dict()["rows"] == first.as_dict()["rows"]
    assert again.as_dict()["metrics"] == first.as_dict()["metrics"]
    run(folder=tmp_path, nfe=(1, 2, 3), samplers=["euler:grid=uniform"])
    assert solves[2:] == [(3, "euler")]


def test_no_classifier_is_trained_where_no_metric_looks_at_it(
    tiny_flow: Flow, digits: tuple[Data, Data], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request, "data_classifier", lambda data: pytest.fail("it was trained"))
    without = ["memorisation", "w2", "sliced-w2", "curvature"]
    found = sweep(tiny_flow, digits[0], reference=digits[1], nfe=[1], samples=40, metrics=without)
    assert {"memorisation", "w2_squared"} <= set(found.evaluations[0].rows[0])
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
    assert {e.settings["sampler"] for e in found.evaluations} == {"euler"}
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
    first = [evaluation.rows[0] for evaluation in found.evaluations]
    assert [row["nfe"] for row in first] == [0, 0, 0, 0]
    assert all(row == first[0] for row in first)
    assert [len(evaluation.rows) for evaluation in found.evaluations] == [2, 2, 2, 2]
    assert set(first[0]) == {"nfe", "w2_squared", "seconds"}  # no steps, so no error of steps
    assert "global_error" in found.evaluations[0].rows[1]
    assert [nfe for nfe, _ in solves].count(0) == 1
    _, cond = digits[1].batch(draw_indices(digits[1], 40, torch.Generator().manual_seed(3)))
    source = tiny_flow.coupling.source(tiny_flow.prior, cond, generator=torch.Generator().manual_seed(3))
    real, labels = digits[1].batch(torch.arange(len(digits[1])))
    distances = wasserstein2_per_condition(source.clamp(-1, 1), cond, real, labels, 500)
    assert first[0]["w2_squared"] == pytest.approx(statistics.fmean(distances.values()), rel=1e-9)
    assert len(found.lines()) == 8
    run(**options, metrics=["w2"], folder=tmp_path)
    assert [nfe for nfe, _ in solves].count(0) == 1


def test_the_prior_alone_is_there_by_default_and_may_be_left_out(run: Run) -> None:
    options = {name: value for name, value in OPTIONS.items() if name != "nfe"}
    assert inspect.signature(sweep).parameters["nfe"].default[0] == 0
    assert inspect.signature(evaluate).parameters["nfe"].default[0] == 0
    assert [row["nfe"] for row in run(**options, nfe=[0]).evaluations[0].rows] == [0]
    assert [row["nfe"] for row in run(**options, nfe=[2]).evaluations[0].rows] == [2]
    with pytest.raises(OptionError, match="a step takes 4"):
        run(samplers=["rk4"], nfe=[0, 2])


def test_samples_come_from_where_they_are_asked_for(run: Run, tiny_flow: Flow) -> None:
    calls: list[dict[str, Any]] = []

    def generate(*arguments: Any, **options: Any) -> Solution:
        calls.append(options)
        return tiny_flow.solve(*arguments, **options)

    found, expected = run(generate=generate).evaluations[0], run().evaluations[0]
    assert [options["nfe"] for options in calls] == [1, 2]
    assert all({**row, "seconds": 0} in [{**r, "seconds": 0} for r in expected.rows] for row in found.rows)


def test_an_adaptive_sampler_has_one_line_over_seeds(run: Run) -> None:
    (line,) = run(samplers=["bosh3"], seeds=[0, 1]).lines()
    assert line.figures["w2_squared"].seeds == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [({"seeds": []}, "seeds="), ({"seeds": [-1]}, "seeds="), ({"batch_size": 0}, "batch_size=0")],
)
def test_impossible_calls_are_refused(run: Run, options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        run(**options)
