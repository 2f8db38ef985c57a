"""What all tests share: one thread, a cache and a current folder, a generator, data, hypothesis' profile.

A run may have several workers. Each has one thread; all have one cache, so that a classifier is trained once.
"""

from __future__ import annotations

import gc
import os

# Before torch is imported. Sub-processes inherit it.
os.environ["OMP_NUM_THREADS"] = "1"

from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest
import torch
from torch import Tensor

from flowprior.data import Data, load_data
from flowprior.features.classifier import Classifier, data_classifier
from flowprior.flow import Flow
from flowprior.training import batches, train

torch.set_num_threads(1)
torch.set_warn_always(True)  # in every test that causes a warning, not in the first alone: it is an error
hypothesis.settings.register_profile(
    "repeatable",
    deadline=None,
    derandomize=True,
    max_examples=25,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("repeatable")

REPOSITORY = Path(__file__).parents[1]
COLLECTED = pytest.StashKey[tuple[int, int]]()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Count all tests and the slow ones, before ``-m`` takes some away."""
    slow = sum(item.get_closest_marker("slow") is not None for item in items)
    config.stash[COLLECTED] = len(items), slow


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect tests without collecting garbage, of which there is none: a fifth faster."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    """Thousands of tests are many objects: the garbage collector leaves them alone, or takes long."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cache of this run and all its workers; no test sees the user's."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOWPRIOR_CACHE", str(folder / "flowprior-cache"))
        yield folder / "flowprior-cache"


@pytest.fixture(scope="session", autouse=True)
def current_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty current folder: no test may find a file of the repository there, or leave one.

    Sub-processes import from the repository, as pytest itself does.
    """
    folder = tmp_path_factory.mktemp("current-folder")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(REPOSITORY), prepend=os.pathsep)
        patch.chdir(folder)
        yield folder
    left = sorted(path.name for path in folder.iterdir())
    assert not left, f"tests left {left} in the current folder"


@pytest.fixture(scope="session", autouse=True)
def without_waiting_for_the_disk() -> Iterator[None]:
    """``os.fsync`` only looks at the file: it guards against a loss of power, which no test can cause."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)
        yield


@pytest.fixture(scope="session", autouse=True)
def short_measures() -> Iterator[None]:
    """Every run measures its starts on 256 examples, not 2,048, which takes longer than a short training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "EXAMPLES", 256)
        yield


@pytest.fixture
def generator() -> torch.Generator:
    """A generator that starts at the same place in every test."""
    return torch.Generator().manual_seed(20250211)


@pytest.fixture
def three_classes() -> tuple[Tensor, Tensor]:
    """600 rows of three correlated Gaussian classes of 100, 200 and 300 in four dimensions, float64."""
    generator = torch.Generator().manual_seed(7)
    labels = torch.tensor([0] * 100 + [1] * 200 + [2] * 300)
    means = torch.tensor([[3.0, 0.0, -1.0, 0.5], [-2.0, 1.0, 4.0, 0.0], [0.0, -5.0, 0.0, 2.0]]).double()
    mix = torch.randn(3, 4, 4, generator=generator, dtype=torch.float64)
    noise = torch.randn(600, 4, generator=generator, dtype=torch.float64)
    rows = torch.randperm(600, generator=generator)
    x = means[labels] + torch.einsum("nij,nj->ni", mix[labels], noise)
    return x[rows], labels[rows]


@pytest.fixture(scope="session")
def digits() -> tuple[Data, Data]:
    """Training and test split."""
    return load_data("digits"), load_data("digits", "test")


@pytest.fixture(scope="session")
def classifier(digits: tuple[Data, Data]) -> Classifier:
    """The classifier of the digits, from the package."""
    return data_classifier(digits[0])


@pytest.fixture(scope="session")
def tiny_flow(digits: tuple[Data, Data]) -> Flow:
    """A few steps of a small network; the prior does most of the work."""
    return train(
        digits[0], prior="gmm", coupling="condot", model="mlp:width=32", steps=20, batch_size=32, device="cpu"
    )
