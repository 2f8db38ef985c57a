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
SPILT = "    96 bytes stack frame, 88 bytes spill stores, 100 bytes spill loads\n"


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


@pytest.mark.parametrize(
    ("log", "status", "said"),
    [
        (None, 1, ""),
        (CLEAN, 0, "1 CUDA objects without spills, 1 kernels within their registers, 0 AVX"),
        ("", 1, "says nothing of spills"),
        (CLEAN + SPILT, 1, "88 bytes spill stores, 100 bytes spill loads"),
        (CLEAN.replace("Used 17", "Used 18"), 1, "fill sm_80 uses 18 registers, its bound is 17"),
    ],
    ids=["nothing built", "clean", "silent", "spilt", "more registers"],
)
def test_the_command_fails_on_a_problem_and_where_nothing_was_built(
    log: str | None, status: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(checks, "ROOT", tmp_path)
    monkeypatch.setattr(checks, "BOUNDS", tmp_path / "registers.json")
    checks.BOUNDS.write_text('{"fill sm_80": 17}')
    if log is not None:
        folder = tmp_path / checks.OBJECTS / "cuda-1"
        folder.mkdir(parents=True)
        (folder / "device-answer.cu.o.log").write_text(log)
    assert checks.main() == status
    assert said in capsys.readouterr().err
    if "Used 18" in str(log):
        assert checks.main(["--write"]) == checks.main() == 0


@pytest.mark.parametrize(
    ("mangled", "name"),
    [
        ("_Z4fillPflm", "fill"),
        ("_ZN9flowprior4cuda11gmm_sample_IfLi4EEEvPKT_", "gmm_sample_"),
    ],
)
def test_the_name_of_a_kernel_is_read_from_its_mangled_name(mangled: str, name: str) -> None:
    assert checks.plain_name(mangled) == name
