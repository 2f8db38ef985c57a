"""FLOWPRIOR_BUILD, a real build of a small repository, and what is left where a build fails."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import torch

from csrc import build
from csrc.parameters import module_name, version
from csrc.toolchain import BuildError
from tests.extension.conftest import needs_compiler


@pytest.fixture
def package(repository: Path) -> Path:
    return repository / "flowprior"


def record(package: Path) -> dict[str, object]:
    return json.loads((package / "_build.json").read_text())


def test_none_builds_nothing_and_removes_what_was_there(package: Path) -> None:
    (package / module_name()).write_bytes(b"of an earlier build")
    build.install("none", package)
    assert not (package / module_name()).exists()
    assert record(package) == {
        "variant": None,
        "reason": "FLOWPRIOR_BUILD=none asked for none",
        "requested": "none",
        "flowprior": version(),
    }


@needs_compiler
def test_a_build_and_what_an_edit_rebuilds(
    package: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWPRIOR_BUILD", "cpu")
    assert build.main() == 0
    assert (record(package)["variant"], record(package)["torch"]) == ("cpu", torch.__version__)
    library = package / module_name()
    dump = subprocess.run(["readelf", "-d", library], capture_output=True, text=True, check=True).stdout
    assert {"libtorch_cpu.so", "libtorch.so", "libc10.so"} <= set(re.findall(r"library: \[(.*)\]", dump))
    assert not re.search("RPATH|RUNPATH", dump), "it knows no folder"
    first = library.stat().st_mtime_ns
    capfd.readouterr()

    build.install("cpu", package)
    assert "no work to do" in capfd.readouterr().err
    assert library.stat().st_mtime_ns == first

    (package.parent / "csrc" / "answer.h").write_text("#define ANSWER 43\n")
    build.install("cpu", package)
    said = capfd.readouterr().err
    assert "module.cpp.o" in said, "the header's one reader is compiled again"
    assert "answer.cpp" not in said, "and nobody else"
    assert library.stat().st_mtime_ns > first


@needs_compiler
def test_auto_survives_a_compile_error_and_says_it_and_cpu_fails_loudly(package: Path) -> None:
    build.install("auto", package)
    (package.parent / "csrc" / "cpu" / "answer.cpp").write_text("int answer() { return forty_two; }\n")
    with pytest.raises(BuildError, match=r"FLOWPRIOR_BUILD=cpu: compilation failed: .*forty_two"):
        build.install("cpu", package)
    assert (package / module_name()).exists()
    assert build.install("auto", package)["variant"] is None
    assert not (package / module_name()).exists(), "the old module is not taken for the new one"
    reason = str(record(package)["reason"])
    assert reason.startswith("compilation failed: csrc/cpu/answer.cpp:1:")
    log = Path(reason.split("all of it: ")[1].rstrip(")"))
    assert "forty_two" in reason
    assert "forty_two" in log.read_text()


def test_auto_without_a_compiler(
    package: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert build.main() == 1
    assert "no extension (no C++ compiler was found" in capsys.readouterr().err
    expected = "no C++ compiler was found (no-such-compiler); install one, such as Debian's g++"
    assert (record(package)["variant"], record(package)["reason"]) == (None, expected)
    with pytest.raises(BuildError, match=r"^FLOWPRIOR_BUILD=cpu: no C\+\+ compiler was found"):
        build.install("cpu", package)
    monkeypatch.setenv("FLOWPRIOR_BUILD", "gpu")
    with pytest.raises(BuildError, match="FLOWPRIOR_BUILD: expected one of auto, cpu, cuda, none, got 'gpu'"):
        build.wanted()


@needs_compiler
def test_auto_takes_the_cpu_where_cuda_cannot_be_had(
    package: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "no-cuda"))
    assert build.install("auto", package)["variant"] == "cpu"
    assert str(record(package)["reason"]).startswith("built for the CPU; not for CUDA: ")
