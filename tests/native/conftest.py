"""The emulated kernels, compiled once and kept in pytest's cache."""

from __future__ import annotations

import shutil

import pytest

from tests.native.emulated import Emulation, build


@pytest.fixture(scope="session")
def emulation(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Emulation:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++ to compile the emulated CUDA kernels with")
    cache = pytestconfig.cache
    folder = cache.mkdir("cuda-emulation") if cache else tmp_path_factory.mktemp("cuda-emulation")
    return Emulation(build(compiler, folder))
