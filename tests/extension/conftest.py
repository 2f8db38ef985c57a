"""A small repository to build: one operator file, one kernel, one module, in plain C."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from csrc import build, parameters

ROOT = Path(__file__).parents[2]
needs_compiler = pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler")

MODULE = """\
#include <Python.h>
#include "answer.h"
static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_C", nullptr, ANSWER, nullptr, {}, {}, {}, {}};
PyMODINIT_FUNC __attribute__((visibility("default"))) PyInit__C() { return PyModule_Create(&definition); }
"""
KERNEL = """\
#define JOIN(name, isa) name##_##isa
#define NAME(name, isa) JOIN(name, isa)
int NAME(answer, FLOWPRIOR_ISA)() { return 1; }
"""


def write_sources(root: Path) -> None:
    """The pyproject.toml and csrc/ of the small repository, without Python files."""
    shutil.copy(ROOT / "pyproject.toml", root)
    kernels = root / "csrc" / "cpu" / "kernels"
    kernels.mkdir(parents=True)
    (root / "csrc" / "answer.h").write_text("#define ANSWER 42\n")
    (root / "csrc" / "module.cpp").write_text(MODULE)
    (root / "csrc" / "cpu" / "answer.cpp").write_text("int answer() { return 42; }\n")
    (kernels / "answer.cpp").write_text(KERNEL)
    (root / "flowprior").mkdir()
    (root / "flowprior" / "__init__.py").write_text("")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small repository, which csrc.build takes for its own."""
    write_sources(tmp_path)
    for module in (build, parameters):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    for variable in (
        "CXX",
        "CXXFLAGS",
        "LDFLAGS",
        "FLOWPRIOR_BUILD",
        "FLOWPRIOR_WERROR",
        "TORCH_CUDA_ARCH_LIST",
    ):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


def program(path: Path, body: str) -> Path:
    """A shell script that can be run."""
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path
