"""Statistics of real data: right, read from the cache, and never for other data or weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from flowprior.data import TensorData
from flowprior.features.base import NetworkFeatures
from flowprior.metrics.frechet import feature_moments, reference_moments
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


@pytest.fixture
def data(generator: torch.Generator) -> TensorData:
    return TensorData(torch.randn(50, 3, generator=generator), torch.arange(50) % 5, name="mine")


def test_moments_are_those_of_all_features_and_are_kept(data: TensorData, folder: Path) -> None:
    extractor = Counting()
    expected = feature_moments([super(Counting, extractor).features(data.x)])
    renamed = TensorData(data.x, data.cond, name="renamed")
    for reference in (Reference(data, "test"), Reference(renamed, "training")):
        found = reference_moments(reference, extractor)
        for name, moment in expected.items():
            torch.testing.assert_close(found[name], moment)
    assert extractor.seen == 50
    (file,) = folder.iterdir()
    _, metadata = load_tensors(file)
    assert {"name": "mine", "split": "test", "count": "50"}.items() <= metadata.items()
    assert metadata["extractor"] == extractor.identity()


def test_a_subset_is_the_same_at_every_call_and_keeps_the_proportions(data: TensorData) -> None:
    extractor, reference = Counting(), Reference(data, "test")
    x, labels = reference.subset(20)
    assert labels is not None
    assert torch.bincount(labels).tolist() == [4] * 5
    for count, rows in ((20, 20), (80, 50)):
        assert reference.features(extractor, count).shape == (rows, 4)
    torch.testing.assert_close(reference.features(extractor, 20), super(Counting, extractor).features(x))
    assert extractor.seen == 70
    assert reference.describe(60) == "50 test examples of mine"
    assert reference.describe(20) == "20 of 50 test examples of mine"


@pytest.mark.parametrize("change", ["event", "label", "weights", "count"])
def test_nothing_is_read_for_other_data_or_weights(data: TensorData, change: str) -> None:
    extractor, count = Counting(), 21 if change == "count" else 20
    Reference(data, "test").features(extractor, 20)
    if change == "event":
        data.x[7, 1] += 1e-4
    elif change == "label":
        assert data.cond is not None
        data.cond[7] = 0
    extractor = Counting(2.001 if change == "weights" else 2.0)
    Reference(data, "test").features(extractor, count)
    assert extractor.seen == count


def test_a_damaged_file_is_replaced(data: TensorData, folder: Path) -> None:
    extractor = Counting()
    expected = Reference(data, "test").features(extractor, 20)
    (file,) = folder.iterdir()
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.warns(RuntimeWarning, match="computed anew"):
        torch.testing.assert_close(Reference(data, "test").features(extractor, 20), expected)
    Reference(data, "test").features(extractor, 20)
    assert extractor.seen == 40


def test_a_cache_that_cannot_be_written_is_done_without(
    data: TensorData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FLOWPRIOR_CACHE", str(tmp_path / "file"))
    with pytest.warns(RuntimeWarning, match="is not cached"):
        assert Reference(data, "test").features(Counting(), 20).shape == (20, 4)
