"""Statistics of real data: right, read from the cache, and never for other data or weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from flowprior.data import TensorData
from flowprior.features.base import NetworkFeatures
from flowprior.metrics.frechet import FeatureMoments, reference_moments
from flowprior.metrics.setup import Reference
from flowprior.storage.tensor_files import load_tensors


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLOWPRIOR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Counting(NetworkFeatures):
    """Features that count how many events they were asked for."""

    def __init__(self, weight: float = 2.0) -> None:
        super().__init__(nn.Linear(3, 4, bias=False), "counting")
        nn.init.constant_(self.network.weight, weight)  # type: ignore[arg-type]
        self.seen = 0

    def features(self, x: Tensor) -> Tensor:
        self.seen += len(x)
        return super().features(x)


def labelled(generator: torch.Generator, name: str = "mine") -> TensorData:
    return TensorData(torch.randn(50, 3, generator=generator), torch.arange(50) % 5, name=name)


def test_moments_are_those_of_all_features_and_are_kept(generator: torch.Generator, folder: Path) -> None:
    data, extractor = labelled(generator), Counting()
    expected = FeatureMoments.of([super(Counting, extractor).features(data.x)])
    for _ in range(2):
        found = reference_moments(Reference(data, "test"), extractor)
        assert found.count == 50
        assert found.distance(expected) == pytest.approx(0, abs=1e-9)
        torch.testing.assert_close(found.covariance(), expected.covariance())
    assert extractor.seen == 50
    (file,) = folder.iterdir()
    _, metadata = load_tensors(file)
    assert metadata["name"] == "mine"
    assert metadata["split"] == "test"
    assert metadata["count"] == "50"
    assert metadata["extractor"] == extractor.identity()


def test_a_subset_is_the_same_at_every_call_and_keeps_the_proportions(generator: torch.Generator) -> None:
    data, extractor = labelled(generator), Counting()
    reference = Reference(data, "test")
    x, labels = reference.subset(20)
    assert labels is not None
    assert torch.bincount(labels).tolist() == [4] * 5
    for count, rows in ((20, 20), (80, 50)):
        assert reference.features(extractor, count).shape == (rows, 4)
    torch.testing.assert_close(reference.features(extractor, 20), super(Counting, extractor).features(x))
    assert extractor.seen == 70


@pytest.mark.parametrize("change", ["event", "label", "weights", "count"])
def test_nothing_is_read_for_other_data_or_weights(generator: torch.Generator, change: str) -> None:
    data, extractor, count = labelled(generator), Counting(), 20
    Reference(data, "test").features(extractor, count)
    if change == "event":
        data.x[7, 1] += 1e-4
    elif change == "label":
        assert data.cond is not None
        data.cond[7] = 0
    elif change == "weights":
        extractor = Counting(2.001)
    else:
        count = 21
    extractor.seen = 0
    Reference(data, "test").features(extractor, count)
    assert extractor.seen == count


def test_another_name_of_equal_data_is_read(generator: torch.Generator) -> None:
    state, extractor = generator.get_state(), Counting()
    reference_moments(Reference(labelled(generator), "test"), extractor)
    generator.set_state(state)
    reference_moments(Reference(labelled(generator, "renamed"), "training"), extractor)
    assert extractor.seen == 50


def test_a_damaged_file_is_replaced(generator: torch.Generator, folder: Path) -> None:
    data, extractor = labelled(generator), Counting()
    expected = Reference(data, "test").features(extractor, 20)
    (file,) = folder.iterdir()
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.warns(RuntimeWarning, match="computed anew"):
        found = Reference(data, "test").features(extractor, 20)
    torch.testing.assert_close(found, expected)
    assert extractor.seen == 40
    Reference(data, "test").features(extractor, 20)
    assert extractor.seen == 40


def test_a_cache_that_cannot_be_written_is_done_without(
    generator: torch.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    monkeypatch.setenv("FLOWPRIOR_CACHE", str(blocked))
    with pytest.warns(RuntimeWarning, match="not cached"):
        assert Reference(labelled(generator), "test").features(Counting(), 5).shape == (5, 4)


def test_descriptions_say_how_many_of_what(generator: torch.Generator) -> None:
    reference = Reference(labelled(generator), "test")
    assert reference.describe() == reference.describe(60) == "50 test examples of mine"
    assert reference.describe(20) == "20 of 50 test examples of mine"
