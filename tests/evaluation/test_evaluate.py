"""evaluate: every value computed again from the same seed, kinds of data, notes and what is refused."""

from __future__ import annotations

import dataclasses
import traceback
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import ot
import pytest
import scipy.linalg
import torch
from torch import Tensor

from flowprior import Coupling, Flow, Prior, evaluate, train
from flowprior.conditions import Condition
from flowprior.data import Data, TensorData, load_data
from flowprior.data.splits import draw_indices
from flowprior.errors import InputError, OptionError, UnknownComponentError
from flowprior.evaluation import Result
from flowprior.evaluation.comparable import FEW, warn_of_few
from flowprior.features.classifier import Classifier
from flowprior.metrics import Metric
from flowprior.metrics.setup import Reference
from flowprior.metrics.transport import Wasserstein
from flowprior.paths import Path as FlowPath
from flowprior.streams.data import Annotation
from tests.test_batch import PACKAGE, Trace

SEED = 11
SAMPLES = 120


@pytest.fixture(scope="module")
def result(tiny_flow: Flow, digits: tuple[Data, Data], classifier: Classifier) -> Result:
    return evaluate(
        tiny_flow,
        digits[0],
        reference=digits[1],
        nfe=(1, 3),
        samples=SAMPLES,
        seed=SEED,
        batch_size=50,
        classifier=classifier,
    )


@pytest.fixture(scope="module")
def drawn(tiny_flow: Flow, digits: tuple[Data, Data]) -> tuple[Tensor, Tensor]:
    """The conditions and samples behind the row of 3 evaluations."""
    return drawn_from(tiny_flow, digits[1], SAMPLES, nfe=3)


def drawn_from(flow: Flow, test: Data, samples: int, nfe: int) -> tuple[Tensor, Tensor]:
    """Samples and their conditions, from the documented seeds."""
    _, cond = test.batch(draw_indices(test, samples, torch.Generator().manual_seed(SEED)))
    assert cond is not None
    return flow.sample(cond, nfe=nfe, generator=torch.Generator().manual_seed(SEED)).clamp(-1, 1), cond


def whole(data: Data) -> tuple[Tensor, Tensor]:
    x, cond = data.batch(torch.arange(len(data)))
    assert cond is not None
    return x, cond


def numpy_fid(x: np.ndarray, y: np.ndarray) -> float:
    first, second = np.cov(x.T), np.cov(y.T)
    root = scipy.linalg.sqrtm(first @ second + 1e-12 * np.eye(len(first))).real
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(first + second - 2 * root))


def test_the_frechet_distance_is_of_all_reference_features(
    result: Result, drawn: tuple[Tensor, Tensor], digits: tuple[Data, Data], classifier: Classifier
) -> None:
    ours, theirs = (classifier.features(x).double().numpy() for x in (drawn[0], whole(digits[1])[0]))
    assert result.fid_name == "fid-cnn128"
    assert result.value("fid", 3) == pytest.approx(numpy_fid(ours, theirs), rel=1e-3)


def test_accuracy_is_on_the_conditions_asked_for(
    result: Result, drawn: tuple[Tensor, Tensor], classifier: Classifier
) -> None:
    right = classifier(drawn[0]).argmax(1) == drawn[1]
    assert result.value("accuracy", 3) == pytest.approx(right.double().mean().item())


def test_w2_is_the_mean_over_labels(
    result: Result, drawn: tuple[Tensor, Tensor], digits: tuple[Data, Data]
) -> None:
    (x, cond), (y, labels) = drawn, whole(digits[1])
    distances = [
        ot.emd2(
            [], [], ot.dist(*(a[c == k].flatten(1).double().numpy() for a, c in ((x, cond), (y, labels))))
        )
        for k in range(10)
    ]
    assert result.value("w2_squared", 3) == pytest.approx(float(np.mean(distances)), rel=1e-6)


def test_transport_cost_of_an_unpaired_coupling_is_the_prior_and_data_moments(
    result: Result, tiny_flow: Flow, digits: tuple[Data, Data]
) -> None:
    x, cond = whole(digits[0])
    draws = [tiny_flow.prior.sample(cond, generator=torch.Generator().manual_seed(s)) for s in range(20)]
    expected = torch.stack([(d - x).flatten(1).square().sum(1).mean() for d in draws]).mean().item()
    assert result.metrics["transport_cost"].samples == SAMPLES
    assert result.value("transport_cost") == pytest.approx(expected, rel=0.1)
    assert result.value("transport_cost_unpaired") == pytest.approx(expected, rel=0.1)


def test_the_same_seed_gives_the_same_values_in_other_batches(
    result: Result, tiny_flow: Flow, digits: tuple[Data, Data], classifier: Classifier
) -> None:
    options: dict[str, Any] = {"reference": digits[1], "samples": SAMPLES, "classifier": classifier}
    again = evaluate(tiny_flow, digits[0], nfe=[3], seed=SEED, **options)
    other = evaluate(tiny_flow, digits[0], nfe=[3], seed=SEED + 1, **options)
    for metric in result.quality_metrics:
        assert again.value(metric, 3) == pytest.approx(result.value(metric, 3), rel=1e-4)
    assert other.value("w2_squared", 3) != pytest.approx(result.value("w2_squared", 3), rel=1e-4)


def test_the_real_data_score_is_that_of_real_training_samples(result: Result) -> None:
    scores = {name: result.real_data_score(name) for name in result.quality_metrics}
    assert scores["accuracy"] is not None
    assert scores["accuracy"] > 0.95
    for name in ("fid-cnn128", "w2_squared"):
        score = scores[name]
        assert score is not None
        assert 0 < score < result.value(name, 3)


def test_what_is_needed_to_reproduce_it_is_written_down(result: Result) -> None:
    expected = {
        "data": "digits",
        "reference": "359 test examples of digits",
        "prior": "gmm",
        "coupling": "condot",
        "path": "condot",
        "model": "mlp:width=32",
        "samplers": ["euler"],
        "samples": SAMPLES,
        "seeds": [SEED],
        "guidances": [1.0],
        "conditions": "reference",
    }
    assert expected.items() <= result.settings.items()
    assert result.settings["classifier_accuracy"] > 0.96
    assert result.settings["classifier"].startswith("cnn128 sha256 ")
    assert {metric.samples for metric in result.metrics.values()} == {SAMPLES}
    (row,) = result.select(metric="fid-cnn128", nfe=3)
    terms = {name: row[name] for name in ("flow", "seed", "sampler", "grid", "guidance", "split")}
    assert terms == {
        "flow": "gmm + condot",
        "seed": SEED,
        "sampler": "euler",
        "grid": "uniform",
        "guidance": 1.0,
        "split": "test",
    }


def test_an_adaptive_sampler_gives_one_row_with_what_it_spent(
    tiny_flow: Flow, digits: tuple[Data, Data]
) -> None:
    found = evaluate(tiny_flow, digits[0], nfe=(1, 2, 8), samples=20, sampler="bosh3", classifier=None)
    (row,) = found.select(metric="w2_squared")
    assert row["nfe"] > 3
    assert row["grid"] == "adaptive"


def test_without_a_classifier_only_w2_is_left(tiny_flow: Flow, digits: tuple[Data, Data]) -> None:
    found = evaluate(tiny_flow, digits[0], nfe=[1], samples=20, classifier=None)
    assert list(found.quality_metrics) == ["w2_squared"]
    assert found.fid_name is None
    assert found.real_data_score("w2_squared") is None
    assert any("no test split" in note for note in found.notes)


def exact_flow(data: Data, prior: str = "gaussian") -> Flow:
    """A flow that stays where it starts, from a prior fitted to the data."""
    fitted = Prior.create(prior).fit(data.batches(), generator=torch.Generator().manual_seed(0))
    parts = (Coupling.create("condot"), FlowPath.create("condot"), data.condition)
    return Flow(lambda x, t, cond: torch.zeros_like(x), fitted, *parts)


@pytest.mark.parametrize("kind", ["none", "embeddings"])
def test_data_without_labels_are_compared_pooled(generator: torch.Generator, kind: str) -> None:
    x = torch.randn(400, 2, generator=generator)
    cond = None if kind == "none" else torch.randn(400, 3, generator=generator)
    data, reference = (
        TensorData(x[:200], None if cond is None else cond[:200]),
        TensorData(x[200:], None if cond is None else cond[200:]),
    )
    found = evaluate(exact_flow(data), data, reference=reference, nfe=[1], samples=200)
    score = found.real_data_score("w2_squared")
    assert list(found.quality_metrics) == ["w2_squared"]
    assert score is not None
    assert 0 < found.value("w2_squared", 1) < 3 * score
    assert "pooled" in found.metrics["w2_squared"].description


def test_labelled_vectors_take_an_mlp_for_a_classifier(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWPRIOR_CACHE", str(tmp_path))
    data, test = load_data("eight-modes:n=1600", "train"), load_data("eight-modes:n=400", "test")
    found = evaluate(exact_flow(data, "gmm"), data, reference=test, nfe=[1], samples=400)
    assert found.fid_name == "fid-mlp128"
    assert found.value("accuracy", 1) > 0.9


def test_samples_that_are_not_finite_are_refused(tiny_flow: Flow, digits: tuple[Data, Data]) -> None:
    parts = (tiny_flow.prior, tiny_flow.coupling, tiny_flow.path, tiny_flow.condition)
    broken = Flow(lambda x, t, cond: x / 0, *parts)
    with pytest.raises(InputError, match="20 of 20 generated samples"):
        evaluate(broken, digits[0], nfe=[1], samples=20, classifier=None)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"samples": 1}, OptionError, "samples=1"),
        ({"seed": []}, OptionError, "seed="),
        ({"seed": -1}, OptionError, "seed=-1"),
        ({"sampler": []}, OptionError, "sampler="),
        ({"batch_size": 0}, OptionError, "batch_size=0"),
        ({"features": [torch.nn.Flatten()] * 2}, OptionError, "'flatten' are given twice"),
        ({"nfe": []}, OptionError, "give one or more"),
        ({"nfe": [-1]}, OptionError, "nfe=-1 is not possible; expected a whole number, from 0"),
        ({"guidance": float("nan")}, OptionError, "finite"),
        ({"conditions": "uniform"}, OptionError, "conditions='uniform'"),
        ({"classifier": "cnn"}, OptionError, "classifier='cnn'"),
        ({"sampler": "eler"}, UnknownComponentError, "did you mean 'euler'"),
        ({"reference": torch.zeros(5, 3)}, InputError, r"makes events \[1, 8, 8\]"),
        ({"reference": torch.zeros(5, 1, 8, 8)}, InputError, "no condition"),
        ({"classifier": Classifier(torch.Size([1, 9, 9]), 10)}, InputError, "not one for 'digits'"),
    ],
)
def test_impossible_calls_are_refused(
    tiny_flow: Flow, digits: tuple[Data, Data], options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        evaluate(tiny_flow, digits[0], **{"nfe": [1], "samples": 20, "classifier": None, **options})


def split(count: int, name: str) -> TensorData:
    return TensorData(torch.randn(count, 2, generator=torch.Generator().manual_seed(0)), name=name)


def test_an_evaluation_against_six_examples_warns_of_what_is_usual():
    flow = train(split(50, "whole"), prior="gaussian", coupling="condot", model="mlp:width=8", steps=1)
    options = {"nfe": [1], "samples": 8, "metrics": ["w2", "sliced-w2"], "progress": False}
    with pytest.warns(RuntimeWarning) as caught:
        evaluate(flow, split(50, "whole"), reference=split(6, "six"), **options)
    (message,) = [str(one.message) for one in caught if "evaluate" in str(one.message)]
    assert "got 6 test examples of six" in message
    assert "hold more out (test_fraction=)" in message


@pytest.mark.parametrize(("count", "metric"), [(FEW, "sliced-w2"), (FEW - 1, "curvature"), (FEW - 1, "nll")])
def test_enough_examples_and_metrics_that_see_none_are_not_warned_of(count, metric):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_few(Reference(split(count, "enough"), "test"), [Metric.create(metric)])
    assert not caught


def test_a_request_its_values_and_their_table_are_all_that_lies_between_evaluate_and_a_number(
    tiny_flow: Flow, digits: tuple[Data, Data], monkeypatch: pytest.MonkeyPatch
) -> None:
    stacks, trace = [], Trace()
    compare = Wasserstein.compare

    def noted(*arguments: Any) -> dict[str, float]:
        stacks.append([frame.filename for frame in traceback.extract_stack()])
        return compare(*arguments)

    monkeypatch.setattr(Wasserstein, "compare", noted)
    trace(evaluate, tiny_flow, digits[0], nfe=[1], samples=20, metrics="w2")
    files = [file for file in trace.run if file.startswith("evaluation/")]
    assert files == [
        f"evaluation/{name}.py" for name in ("evaluating", "request", "comparable", "values", "result")
    ]
    own = dict.fromkeys(
        Path(file).relative_to(PACKAGE) for file in stacks[0] if PACKAGE in Path(file).parents
    )
    assert list(map(str, own)) == ["evaluation/evaluating.py", "evaluation/values.py", "metrics/base.py"]


# -- data that can be compared --------------------------------------------------------------------


CELLS = Annotation("X_pca", ("PC1", "PC2"), (2.0,), (0.0,), "cell_type")
NAMES = ["A", "B", "C"]


def cells(annotation: Annotation = CELLS, names: list[str] | None = None) -> TensorData:
    found = names or NAMES
    labels = torch.arange(120) % len(found)
    data = TensorData(torch.randn(120, 2), labels, classes=len(found), class_names=found)
    data.annotation = annotation
    return data


@pytest.fixture
def flow() -> Flow:
    """Of cells with three types; its network stands still."""
    prior = Prior.create("gmm").fit(cells())
    facts = {"class_names": NAMES, "annotation": CELLS.as_dict()}
    parts = prior, Coupling.create("condot"), FlowPath.create("condot"), Condition("labels", 3)
    return Flow(lambda x, t, cond: torch.zeros_like(x), *parts, metadata={"data": facts})


def compared(flow: Flow, reference: TensorData, data: TensorData | None = None) -> float:
    """The sliced W2² that an evaluation finds."""
    options = {"nfe": [1], "samples": 60, "metrics": ["sliced-w2"], "progress": False}
    found = evaluate(flow, data or cells(), reference=reference, **options)
    return next(row["value"] for row in found.rows if row["nfe"] == 1)


def test_data_of_the_same_units_and_names_or_the_first_of_them_are_compared(flow: Flow) -> None:
    assert compared(flow, cells()) >= 0
    assert compared(flow, cells(dataclasses.replace(CELLS, scale=(2.0, 2.0)))) >= 0
    assert compared(flow, cells(names=["A", "B"]), cells(names=["A", "B"])) >= 0


@pytest.mark.parametrize(
    "change",
    [
        {"scale": (6.0,)},
        {"scale": (2.0, 2.1)},
        {"shift": (0.5,)},
        {"key": "X_umap"},
        {"names": ("PC2", "PC1")},
    ],
)
def test_other_units_are_refused(flow: Flow, change: dict[str, object]) -> None:
    with pytest.raises(InputError, match="expected events in the units of the flow's data"):
        compared(flow, cells(dataclasses.replace(CELLS, **change)))


@pytest.mark.parametrize("names", [["B", "C"], ["A", "C", "B"]])
def test_labels_in_another_order_are_refused(flow: Flow, names: list[str]) -> None:
    with pytest.raises(InputError, match=r"expected labels A, B, C in this order, got .* with"):
        compared(flow, cells(names=names))
