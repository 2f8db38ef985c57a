"""One function computes the build parameters: which sources, how often, with which flags."""

from __future__ import annotations

from pathlib import Path

import pytest

from csrc import parameters as module
from csrc.build import write_ninja_file
from csrc.parameters import parameters
from csrc.toolchain import Cuda, Torch


@pytest.fixture
def machine(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of type x86-64 with torch for CUDA 13.0 and a compiler, as paths that nobody opens."""
    (repository / "csrc" / "cuda").mkdir()
    (repository / "csrc" / "cuda" / "answer.cu").write_text("")
    monkeypatch.setattr(module, "find_compiler", lambda: ["ccache", "g++"])
    monkeypatch.setattr(module, "output_of", lambda command: "g++ 12.4\nand more")
    monkeypatch.setattr(module, "find_torch", lambda: Torch(Path("/torch"), "2.13.0+cu130", "13.0"))
    monkeypatch.setattr(module, "find_cuda", lambda torch: Cuda(Path("/cuda/bin/nvcc"), "13.0"))
    monkeypatch.setattr(module.platform, "machine", lambda: "x86_64")
    return repository


def test_every_source_once_and_kernels_once_for_each_instruction_set(machine: Path) -> None:
    built = parameters("cpu")
    assert {name: [path.as_posix() for path in rule.sources] for name, rule in built.rules.items()} == {
        "host": ["csrc/cpu/answer.cpp", "csrc/module.cpp"],
        "baseline": ["csrc/cpu/kernels/answer.cpp"],
        "avx2": ["csrc/cpu/kernels/answer.cpp"],
    }
    assert built.facts["instruction_sets"] == ["baseline", "avx2"]
    assert built.facts["compiler"] == "g++ 12.4"
    assert all(rule.command[:2] == ["ccache", "g++"] for rule in built.rules.values())


def test_instruction_sets_reach_the_kernels_and_nothing_else(machine: Path) -> None:
    rules = parameters("cpu").rules
    flags = {name: {flag for flag in rule.command if flag.startswith("-m")} for name, rule in rules.items()}
    assert flags == {"host": set(), "baseline": set(), "avx2": set(module.AVX2)}
    for name in ("baseline", "avx2"):
        assert f"-DFLOWPRIOR_ISA={name}" in rules[name].command
    assert "-DFLOWPRIOR_HAS_AVX2" in rules["host"].command


def test_other_machines_have_the_baseline_only(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.platform, "machine", lambda: "aarch64")
    built = parameters("cpu")
    assert built.facts["instruction_sets"] == ["baseline"]
    assert list(built.rules) == ["host", "baseline"]
    assert not [flag for rule in built.rules.values() for flag in rule.command if "FLOWPRIOR_HAS" in flag]


def test_the_stable_abi_of_torch_2_10_whatever_torch_builds(machine: Path) -> None:
    for rule in parameters("cuda").rules.values():
        assert "-DTORCH_TARGET_VERSION=0x020a000000000000" in rule.command
        assert rule.command[rule.command.index("/torch/include") - 1] == "-isystem"
    assert parameters("cpu").facts["torch_abi"] == "2.10"


def test_warnings_are_errors_on_request(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWPRIOR_WERROR", "0")
    assert not [rule for rule in parameters("cuda").rules.values() if "-Werror" in rule.command]
    monkeypatch.setenv("FLOWPRIOR_WERROR", "1")
    assert all("-Werror" in rule.command for rule in parameters("cuda").rules.values())


def test_torchs_libraries_are_needed_by_name_and_found_by_nobody(machine: Path) -> None:
    cpu, cuda = parameters("cpu").link, parameters("cuda").link
    assert cpu[:5] == ["ccache", "g++", "-shared", "-L/torch/lib", "-Wl,--no-as-needed"]
    assert {"-ltorch_cpu", "-ltorch", "-lc10"} <= set(cpu)
    assert set(cuda) - set(cpu) >= {"-ltorch_cuda", "-lcudart_static"}
    assert not [flag for flag in (*cpu, *cuda) if "rpath" in flag]


def test_cuda_compiles_for_two_cards_and_those_to_come(machine: Path) -> None:
    built = parameters("cuda")
    device = built.rules["device"].command
    assert device[0] == "/cuda/bin/nvcc"
    assert [flag for flag in device if flag.startswith("-gencode")] == [
        "-gencode=arch=compute_80,code=sm_80",
        "-gencode=arch=compute_90,code=[sm_90,compute_90]",
    ]
    assert device[device.index("-ccbin") + 1] == "g++"
    assert "-cudart=static" in device
    host = built.rules["host"].command
    assert "-DFLOWPRIOR_CUDA" in host
    assert "/cuda/include" in host
    assert built.facts["architectures"] == ["8.0", "9.0+PTX"]


def test_architectures_from_the_environment(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "9.0a 12.0+PTX")
    device = parameters("cuda").rules["device"].command
    assert "-gencode=arch=compute_90a,code=sm_90a" in device
    assert "-gencode=arch=compute_120,code=[sm_120,compute_120]" in device


def test_builds_that_differ_share_no_folder(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = parameters("cpu").folder
    assert parameters("cpu").folder == first
    assert parameters("cuda").folder != first
    monkeypatch.setattr(module, "find_torch", lambda: Torch(Path("/other"), "2.13.0", None))
    assert parameters("cpu").folder != first


def test_the_users_flags_come_before_ours(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXXFLAGS", "-g '-DNAME=a b'")
    monkeypatch.setenv("LDFLAGS", "-Wl,-O1")
    built = parameters("cpu")
    assert all(rule.command[2:4] == ["-g", "-DNAME=a b"] for rule in built.rules.values())
    assert built.link[-1] == "-Wl,-O1"


def test_the_ninja_file_has_an_edge_for_each_object(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXXFLAGS", "'-DPRICE=$5 a'")
    built = parameters("cuda")
    write_ninja_file(built, machine / "build.ninja")
    text = (machine / "build.ninja").read_text()
    edges = [line for line in text.splitlines() if line.startswith("build ")]
    assert len(edges) == sum(len(rule.sources) for rule in built.rules.values()) + 1
    assert f"build {built.folder}/device-answer.cu.o: device csrc/cuda/answer.cu" in edges
    assert "-MD -MF $out.d" in text
    assert "'-DPRICE=$$5 a'" in text
