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
def test_the_compiler_of_cxx_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "c++ -pipe")
    assert toolchain.find_compiler() == ["c++", "-pipe"]


def test_no_compiler_is_said_with_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(BuildError, match=r"no C\+\+ compiler was found \(c\+\+\); install"):
        toolchain.find_compiler()
    monkeypatch.setenv("CXX", "g++-99")
    with pytest.raises(BuildError, match=r"g\+\+-99"):
        toolchain.find_compiler()


@needs_compiler
def test_missing_headers_of_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(toolchain.sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(BuildError, match=r"Python\.h is missing.*python3-dev"):
        toolchain.find_compiler()


def test_other_systems_are_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(BuildError, match="on Linux only, and this is darwin"):
        toolchain.find_compiler()


def test_the_importable_torch_is_found_and_not_imported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = fake_torch(tmp_path / "torch", "2.11.1+cu130", "13.0")
    importable(monkeypatch, folder)
    assert toolchain.find_torch() == Torch(folder, "2.11.1+cu130", "13.0")


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


def test_torch_that_is_missing_or_old(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    importable(monkeypatch, None)
    monkeypatch.setattr(toolchain, "output_of", lambda command: "")
    with pytest.raises(BuildError, match=r"torch was not found .* pip install 'torch>=2\.10' first"):
        toolchain.find_torch()
    importable(monkeypatch, fake_torch(tmp_path / "old" / "torch", "2.9.1"))
    with pytest.raises(
        BuildError, match=r"torch 2\.9\.1 is installed, and the extension needs 2\.10 or newer"
    ):
        toolchain.find_torch()
    importable(monkeypatch, new := fake_torch(tmp_path / "new" / "torch", "2.10.0"))
    assert toolchain.find_torch().folder == new


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (None, r"no nvcc in .*; set CUDA_HOME to a CUDA 13\.0 toolkit"),
        ("release 12.8, V12.8.61", r"torch is built for CUDA 13\.0, and .*nvcc is of CUDA 12\.8"),
        ("what?", r"torch is built for CUDA 13\.0, and .*nvcc is of CUDA an unknown release"),
    ],
)
def test_an_nvcc_that_does_not_fit(
    said: str | None, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "bin").mkdir()
    if said:
        program(tmp_path / "bin" / "nvcc", f"echo '{said}'")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    with pytest.raises(BuildError, match=message):
        toolchain.find_cuda(Torch(tmp_path, "2.13.0+cu130", "13.0"))


def test_a_fitting_nvcc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Minor versions may differ: the runtime is linked in, and the driver serves every minor version."""
    (tmp_path / "bin").mkdir()
    nvcc = program(tmp_path / "bin" / "nvcc", "echo 'Cuda compilation tools, release 13.2, V13.2.1'")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    found = toolchain.find_cuda(Torch(tmp_path, "2.13.0+cu130", "13.0"))
    assert (found.home, found.nvcc, found.version) == (tmp_path, nvcc, "13.2")
    with pytest.raises(BuildError, match=r"torch 2\.13\.0\+cpu is not a CUDA build"):
        toolchain.find_cuda(Torch(tmp_path, "2.13.0+cpu", None))
