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


def test_every_source_once_and_kernels_once_for_each_instruction_set(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = parameters("cpu")
    assert {name: [path.as_posix() for path in rule.sources] for name, rule in built.rules.items()} == {
        "host": ["csrc/cpu/answer.cpp", "csrc/module.cpp"],
        "baseline": ["csrc/cpu/kernels/answer.cpp"],
        "avx2": ["csrc/cpu/kernels/answer.cpp"],
    }
    flags = {name: set(rule.command) for name, rule in built.rules.items()}
    machine_flags = {name: {flag for flag in own if flag.startswith("-m")} for name, own in flags.items()}
    assert machine_flags == {"host": set(), "baseline": set(), "avx2": set(module.AVX2)}
    assert {"-DFLOWPRIOR_HAS_AVX2"} <= flags["host"]
    assert all(f"-DFLOWPRIOR_ISA={name}" in flags[name] for name in ("baseline", "avx2"))
    expected = {"instruction_sets": ["baseline", "avx2"], "compiler": "g++ 12.4", "torch_abi": "2.10"}
    assert expected.items() <= built.facts.items()
    monkeypatch.setattr(module.platform, "machine", lambda: "aarch64")
    other = parameters("cpu")
    assert list(other.rules) == ["host", "baseline"]
    assert not [flag for rule in other.rules.values() for flag in rule.command if "FLOWPRIOR_HAS" in flag]


@pytest.mark.parametrize("strict", ["0", "1"])
def test_the_stable_abi_of_torch_2_10_whatever_torch_builds(
    machine: Path, monkeypatch: pytest.MonkeyPatch, strict: str
) -> None:
    monkeypatch.setenv("FLOWPRIOR_WERROR", strict)
    for rule in parameters("cuda").rules.values():
        assert "-DTORCH_TARGET_VERSION=0x020a000000000000" in rule.command
        assert rule.command[rule.command.index("/torch/include") - 1] == "-isystem"
        assert ("-Werror" in rule.command) == (strict == "1")


@pytest.mark.parametrize(
    ("asked", "codes"),
    [
        ("", ["arch=compute_80,code=sm_80", "arch=compute_90,code=[sm_90,compute_90]"]),
        ("9.0a 12.0+PTX", ["arch=compute_90a,code=sm_90a", "arch=compute_120,code=[sm_120,compute_120]"]),
    ],
)
def test_cuda_compiles_for_two_cards_and_those_to_come(
    machine: Path, monkeypatch: pytest.MonkeyPatch, asked: str, codes: list[str]
) -> None:
    if asked:
        monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", asked)
    built = parameters("cuda")
    host, device = built.rules["host"].command, built.rules["device"].command
    assert [flag for flag in device if flag.startswith("-gencode")] == [f"-gencode={code}" for code in codes]
    assert (device[0], device[device.index("-ccbin") + 1]) == ("/cuda/bin/nvcc", "g++")
    assert "-cudart=static" in device
    assert {"-DFLOWPRIOR_CUDA", "/cuda/include"} <= set(host)
    assert asked or built.facts["architectures"] == ["8.0", "9.0+PTX"]


def test_builds_that_differ_share_no_folder(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = parameters("cpu").folder
    assert parameters("cpu").folder == first
    assert parameters("cuda").folder != first
    monkeypatch.setattr(module, "find_torch", lambda: Torch(Path("/other"), "2.13.0", None))
    assert parameters("cpu").folder != first


def test_the_users_flags_come_before_ours_and_torchs_libraries_by_name(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXXFLAGS", "-g '-DNAME=a b'")
    monkeypatch.setenv("LDFLAGS", "-Wl,-O1")
    cpu, cuda = parameters("cpu"), parameters("cuda").link
    assert all(rule.command[:4] == ["ccache", "g++", "-g", "-DNAME=a b"] for rule in cpu.rules.values())
    assert cpu.link[-1] == "-Wl,-O1"
    assert cpu.link[:5] == ["ccache", "g++", "-shared", "-L/torch/lib", "-Wl,--no-as-needed"]
    assert {"-ltorch_cpu", "-ltorch", "-lc10"} <= set(cpu.link)
    assert set(cuda) - set(cpu.link) >= {"-ltorch_cuda", "-lcudart_static"}
    assert not [flag for flag in (*cpu.link, *cuda) if "rpath" in flag]


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
