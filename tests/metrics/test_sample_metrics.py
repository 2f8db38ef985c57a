"""Metrics of samples, computed again from the documented seeds by other means."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from flowprior.data import Data, TensorData
from flowprior.evaluation import Result, evaluate
from flowprior.features.classifier import Classifier
from flowprior.flow import Flow
from flowprior.metrics.frechet import feature_moments, frechet_distance
from flowprior.metrics.memorisation import Memorisation, copied_share, nearest
from flowprior.metrics.setup import Drawn, Reference, Setup
from tests.evaluation.test_evaluate import SEED, drawn_from, exact_flow, whole
from tests.expected_warnings import FEW_REFERENCES

SAMPLES = 100
METRICS = ["memorisation", "fid-within"]


def evaluated(flow: Flow, digits: tuple[Data, Data], metrics: str | list[str], **options: Any) -> Result:
    """By two evaluations, against the test split."""
    counts = {"nfe": [2], "samples": SAMPLES, "seed": SEED}
    return evaluate(flow, digits[0], reference=digits[1], metrics=metrics, **counts, **options)


@pytest.fixture(scope="module")
def result(tiny_flow: Flow, digits: tuple[Data, Data], classifier: Classifier) -> Result:
    return evaluated(tiny_flow, digits, METRICS, classifier=classifier)


@pytest.fixture(scope="module")
def drawn(tiny_flow: Flow, digits: tuple[Data, Data]) -> tuple[Tensor, Tensor]:
    return drawn_from(tiny_flow, digits[1], SAMPLES, nfe=2)


def test_memorisation_is_the_ratio_of_nearest_distances(
    result: Result, drawn: tuple[Tensor, Tensor], digits: tuple[Data, Data]
) -> None:
    training = whole(digits[0])[0].double().flatten(1)
    held_out = Reference(digits[1], "test").subset(SAMPLES)[0].double().flatten(1)
    ours, theirs = (torch.cdist(x, training).amin(1) for x in (drawn[0].double().flatten(1), held_out))
    assert result.value("memorisation", 2) == pytest.approx((ours.mean() / theirs.mean()).item(), rel=1e-6)
    assert result.value("near-duplicates", 2) == (ours <= theirs.quantile(0.5) / 3).double().mean().item()
    for name, share in (("nearest-q05", 0.05), ("nearest-q50", 0.5)):
        ratio = (ours.quantile(share) / theirs.quantile(share)).item()
        assert result.value(name, 2) == pytest.approx(ratio, rel=1e-6)
    assert result.real_data_score("memorisation") is None
    near = [nearest(drawn[0], [whole(data)[0]]) for data in digits]
    share = copied_share(*near, *map(len, digits))
    assert [result.value(name, 2) for name in ("copies", "copies-error")] == pytest.approx(share, rel=1e-5)


def test_the_distance_within_labels_is_against_all_of_a_label(
    result: Result, drawn: tuple[Tensor, Tensor], digits: tuple[Data, Data], classifier: Classifier
) -> None:
    ours, theirs = ([classifier.features(x).double(), labels] for x, labels in (drawn, whole(digits[1])))
    moments = [
        [moment for x, labels in (ours, theirs) for moment in feature_moments([x[labels == label]]).values()]
        for label in range(10)
    ]
    expected = sum(frechet_distance(*of_label) for of_label in moments) / 10
    assert result.value("fid-within-cnn128", 2) == pytest.approx(expected, rel=1e-5)
    assert (result.real_data_score("fid-within-cnn128") or 0) < expected
    assert result.fid_name is None


@FEW_REFERENCES
def test_what_the_data_lack_is_noted(generator: torch.Generator, tiny_flow: Flow) -> None:
    data = TensorData(torch.randn(60, 2, generator=generator))
    found = evaluate(
        exact_flow(data),
        data,
        nfe=[1],
        samples=40,
        metrics=["fid", "fid-within", "accuracy", "memorisation", "w2"],
    )
    assert list(found.quality_metrics) == ["w2_squared"]
    for note in (
        "fid left out: it needs features",
        "fid-within left out: it needs labelled data",
        "accuracy left out: it needs a classifier",
        "memorisation left out: it needs a test split",
    ):
        assert any(note in line for line in found.notes)


def test_features_of_the_users_module_have_values_of_their_own(
    tiny_flow: Flow, digits: tuple[Data, Data], classifier: Classifier
) -> None:
    found = evaluated(tiny_flow, digits, "fid", features=[torch.nn.Flatten()], classifier=classifier)
    assert list(found.quality_metrics) == ["fid-cnn128", "fid-flatten"]
    assert found.metrics["fid-flatten"].features.startswith("flatten sha256 ")
    assert found.value("fid", 2) == found.value("fid-cnn128", 2)
    assert found.value("fid-flatten", 2) > 0


def test_a_test_split_inside_the_training_split_has_no_memorisation(
    tiny_flow: Flow, digits: tuple[Data, Data]
) -> None:
    x, cond = whole(digits[0])
    inside = TensorData(x[:200], cond[:200], classes=10, is_image=True)
    found = evaluated(tiny_flow, (digits[0], inside), METRICS, classifier=None)
    assert found.select(metric="memorisation") == []


def test_near_duplicates_are_counted_and_leave_the_reference() -> None:
    """Held-out points are 0.4 (10 of them) and 4 away from training data, samples 0 and 8 (half of them)."""
    train = TensorData(torch.stack([100.0 * torch.arange(40), torch.zeros(40)], 1))
    held_out = TensorData(
        train.x + torch.tensor([0, 4.0]) * torch.where(torch.arange(40) < 10, 0.1, 1)[:, None]
    )
    samples = Drawn(train.x + torch.tensor([0, 8.0]) * (torch.arange(40) % 2)[:, None])
    splits = Reference(train, "train"), Reference(held_out, "test")
    setup = Setup(exact_flow(train), *splits, 40, 0, None)
    found = Memorisation().values(setup, samples)
    assert (found["near-duplicates"], found["memorisation"], found["nearest-q50"]) == pytest.approx(
        (0.5, 1, 1)
    )
    assert Memorisation().values(setup, setup.held_out) == {"near-duplicates": 0.25}


def test_copies_are_not_told_where_the_samples_were_drawn_for_the_held_out_embeddings(
    generator: torch.Generator,
) -> None:
    """Those are near because they were asked for. Under labels copies are told."""
    x, cond = torch.randn(45, 2, generator=generator), torch.randn(45, 3, generator=generator)
    train, test = TensorData(x[:30], cond[:30]), TensorData(x[30:], cond[30:])
    labels = TensorData(x[:15], torch.arange(15) % 3, classes=3)

    flow = exact_flow(TensorData(x))

    def told(held_out: TensorData, balanced: bool = False) -> bool:
        splits = Reference(train, "train"), Reference(held_out, "test")
        return "copies" in Memorisation().columns(Setup(flow, *splits, 15, 0, None, balanced=balanced))

    assert not told(test)
    assert told(labels)
    assert told(labels, balanced=True)
