"""The emulated CUDA kernels and operators, compiled once and kept in pytest's cache."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.native.emulated import Emulation, build_kernels, build_operators


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the thousand tests that need a CUDA device, unless ``-m`` names them."""
    return (
        True
        if collection_path.name == "test_cuda_device.py" and "cuda" not in config.option.markexpr
        else None
    )


@pytest.fixture(scope="session")
def compiler() -> str:
    found = shutil.which("g++")
    if found is None:
        pytest.skip("no g++ to compile the emulated CUDA kernels with")
    return found


@pytest.fixture(scope="session")
def compiled(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kept_folder(pytestconfig) or tmp_path_factory.mktemp("cuda-emulation")


def kept_folder(config: object) -> Path | None:
    """Return the folder in pytest's cache; None where it has none (``-p no:cacheprovider``)."""
    cache = getattr(config, "cache", None)
    return cache.mkdir("cuda-emulation") if cache else None


@pytest.fixture(scope="session")
def emulation(compiler: str, compiled: Path) -> Emulation:
    return Emulation(build_kernels(compiler, compiled))


@pytest.fixture(scope="session")
def operators(compiler: str, compiled: Path) -> Any:
    """The CUDA operators over emulated kernels, on CPU tensors."""
    torch.ops.load_library(str(build_operators(compiler, compiled)))
    return torch.ops.flowprior_emulated
