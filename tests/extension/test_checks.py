"""The checks of a build's objects find what they look for."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from csrc import checks
from csrc.parameters import AVX2, instruction_sets

CLEAN = """\
ptxas info    : Compiling entry function '_Z4fillPflm' for 'sm_80'
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 17 registers, used 0 barriers, 376 bytes cmem[0]
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
"""
SPILT = CLEAN + "    96 bytes stack frame, 88 bytes spill stores, 100 bytes spill loads\n"


def test_spills_are_found_and_silence_is_not_trusted(tmp_path: Path) -> None:
    log = tmp_path / "device-answer.cu.o.log"
    log.write_text(CLEAN)
    assert checks.problems(tmp_path) == []
    log.write_text(SPILT)
    assert checks.problems(tmp_path) == [f"{log}: 88 bytes spill stores, 100 bytes spill loads"]
    log.write_text("")
    assert "says nothing of spills" in checks.problems(tmp_path)[0]


@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler")
@pytest.mark.skipif("avx2" not in instruction_sets(), reason="not an x86-64 machine")
@pytest.mark.parametrize(
    ("keyword", "wrong"), [("inline", ["weak symbol twice(int)"]), ("static inline", [])]
)
def test_inline_functions_shared_with_code_for_older_machines(
    keyword: str, wrong: list[str], tmp_path: Path
) -> None:
    source = tmp_path / "kernel.cpp"
    source.write_text(f"{keyword} int twice(int x) {{ return 2 * x; }}\nint (*chosen)(int) = twice;\n")
    for name in ("avx2", "baseline"):
        output = tmp_path / f"{name}-kernel.o"
        subprocess.run(["c++", *AVX2, "-c", str(source), "-o", str(output)], check=True)
    found = [line.split(": ", 1)[1] for line in checks.problems(tmp_path)]
    assert found == wrong


def test_the_command_fails_on_a_problem_and_where_nothing_was_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checks, "ROOT", tmp_path)
    monkeypatch.setattr(checks, "BOUNDS", tmp_path / "registers.json")
    checks.BOUNDS.write_text('{"fill sm_80": 17}')
    assert checks.main() == 1
    folder = tmp_path / checks.OBJECTS / "cuda-1"
    folder.mkdir(parents=True)
    (folder / "device-answer.cu.o.log").write_text(CLEAN)
    capsys.readouterr()
    assert checks.main() == 0
    seen = capsys.readouterr().err
    assert seen.startswith("1 CUDA objects without spills, 1 kernels within their registers, 0 AVX")
    (folder / "device-answer.cu.o.log").write_text(SPILT)
    assert checks.main() == 1
    assert "88 bytes spill stores" in capsys.readouterr().err
    (folder / "device-answer.cu.o.log").write_text(CLEAN.replace("Used 17", "Used 18"))
    assert checks.main() == 1
    assert "fill sm_80 uses 18 registers, its bound is 17" in capsys.readouterr().err
    assert checks.main(["--write"]) == 0


@pytest.mark.parametrize(
    ("mangled", "name"),
    [
        ("_Z4fillPflm", "fill"),
        ("_ZN9flowprior4cuda11gmm_sample_IfLi4EEEvPKT_", "gmm_sample_"),
    ],
)
def test_the_name_of_a_kernel_is_read_from_its_mangled_name(mangled: str, name: str) -> None:
    assert checks.plain_name(mangled) == name
