"""What a build needs is found, or said to be missing, without importing torch."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from csrc import toolchain
from csrc.toolchain import BuildError, Torch
from tests.extension.conftest import needs_compiler, program


def fake_torch(folder: Path, version: str, cuda: str | None = None) -> Path:
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (folder / "version.py").write_text(f"__version__ = {version!r}\ncuda = {cuda!r}\n")
    return folder


@needs_compiler
def test_what_a_compiler_needs_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", "c++ -pipe")
    assert toolchain.find_compiler() == ["c++", "-pipe"]
    monkeypatch.setattr(toolchain.sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(BuildError, match=r"Python\.h is missing.*python3-dev"):
        toolchain.find_compiler()
    monkeypatch.setenv("CXX", "g++-99")
    with pytest.raises(BuildError, match=r"no C\+\+ compiler was found \(g\+\+-99\); install"):
        toolchain.find_compiler()
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(BuildError, match="on Linux only, and this is darwin"):
        toolchain.find_compiler()


def importable(monkeypatch: pytest.MonkeyPatch, folder: Path | None) -> None:
    """Let the torch in ``folder`` be what this Python imports, or none."""
    spec = None if folder is None else SimpleNamespace(origin=str(folder / "__init__.py"))
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda name: spec)


def test_an_isolated_build_finds_the_torch_of_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """pip isolates by variables and by what they put on sys.path; the interpreter without them has torch."""
    import torch

    importable(monkeypatch, None)
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    found = toolchain.find_torch()
    assert (found.folder, found.version) == (Path(torch.__file__).parent, torch.__version__)
    assert found.cuda == torch.version.cuda


def test_torch_is_found_and_not_imported_or_said_to_be_missing_or_old(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    importable(monkeypatch, None)
    monkeypatch.setattr(toolchain, "output_of", lambda command: "")
    with pytest.raises(BuildError, match=r"torch was not found .* pip install 'torch>=2\.10' first"):
        toolchain.find_torch()
    importable(monkeypatch, fake_torch(tmp_path / "old" / "torch", "2.9.1"))
    with pytest.raises(BuildError, match=r"torch 2\.9\.1 is installed, .* needs 2\.10 or newer"):
        toolchain.find_torch()
    importable(monkeypatch, new := fake_torch(tmp_path / "new" / "torch", "2.10.0+cu130", "13.0"))
    assert toolchain.find_torch() == Torch(new, "2.10.0+cu130", "13.0")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (None, r"no nvcc in .*; set CUDA_HOME to a CUDA 13\.0 toolkit"),
        ("release 12.8, V12.8.61", r"torch is built for CUDA 13\.0, and .*nvcc is of CUDA 12\.8"),
        ("what?", r"torch is built for CUDA 13\.0, and .*nvcc is of CUDA an unknown release"),
        ("Cuda compilation tools, release 13.2, V13.2.1", None),
    ],
)
def test_a_fitting_nvcc_is_found(
    said: str | None, message: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Minor versions may differ: the runtime is linked in, and the driver serves every minor version."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    if said:
        program(tmp_path / "bin" / "nvcc", f"echo '{said}'")
    if message:
        with pytest.raises(BuildError, match=message):
            toolchain.find_cuda(Torch(tmp_path, "2.13.0+cu130", "13.0"))
    else:
        found = toolchain.find_cuda(Torch(tmp_path, "2.13.0+cu130", "13.0"))
        assert (found.home, found.nvcc, found.version) == (tmp_path, tmp_path / "bin" / "nvcc", "13.2")
    with pytest.raises(BuildError, match=r"torch 2\.13\.0\+cpu is not a CUDA build"):
        toolchain.find_cuda(Torch(tmp_path, "2.13.0+cpu", None))
