"""One function computes the build parameters: which sources, how often, with which flags."""

from __future__ import annotations

from pathlib import Path

import pytest

from csrc import parameters as module
from csrc.ninja_file import ninja_file
from csrc.parameters import Object, Parameters, parameters
from csrc.toolchain import BuildError, Compiler, Cuda, Torch


@pytest.fixture
def machine(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of type x86-64 with torch for CUDA 13.0 and a compiler, as paths that nobody opens."""
    (repository / "csrc" / "cuda").mkdir()
    (repository / "csrc" / "cuda" / "answer.cu").write_text("")
    cuda = Cuda(Path("/cuda"), Path("/cuda/bin/nvcc"), "13.0")
    monkeypatch.setattr(module, "find_compiler", lambda: Compiler(("ccache", "g++"), "g++ 12.4"))
    monkeypatch.setattr(module, "find_torch", lambda: Torch(Path("/torch"), "2.13.0+cu130", "13.0"))
    monkeypatch.setattr(module, "find_cuda", lambda torch: cuda)
    monkeypatch.setattr(module, "find_pybind11", lambda: Path("/pybind11"))
    monkeypatch.setattr(module.platform, "machine", lambda: "x86_64")
    return repository


def named(built: Parameters) -> dict[str, Object]:
    return {item.output.name: item for item in built.objects}


def test_every_source_once_and_kernels_once_for_each_instruction_set(machine: Path) -> None:
    built = parameters("cpu")
    assert [item.output.name for item in built.objects] == [
        "cpu-answer.cpp.o",
        "module.cpp.o",
        "cpu-kernels-answer.cpp-baseline.o",
        "cpu-kernels-answer.cpp-avx2.o",
        "cpu-kernels-answer.cpp-avx512.o",
    ]
    assert built.instruction_sets == ("baseline", "avx2", "avx512")
    assert all(item.source.parts[0] == "csrc" and item.rule == "cxx" for item in built.objects)


def test_instruction_sets_reach_the_kernels_and_nothing_else(machine: Path) -> None:
    objects = named(parameters("cpu"))
    machine_flags = {
        name: {flag for flag in item.flags if flag.startswith("-m")} for name, item in objects.items()
    }
    assert machine_flags.pop("cpu-kernels-answer.cpp-avx512.o") == set(module.AVX512)
    assert machine_flags.pop("cpu-kernels-answer.cpp-avx2.o") == {"-mavx2", "-mfma", "-mf16c", "-mbmi2"}
    assert set().union(*machine_flags.values()) == set()
    for name in ("baseline", "avx2", "avx512"):
        assert f"-DFLOWPRIOR_ISA={name}" in objects[f"cpu-kernels-answer.cpp-{name}.o"].flags
    for name in ("module.cpp.o", "cpu-answer.cpp.o"):
        assert {"-DFLOWPRIOR_HAS_AVX2", "-DFLOWPRIOR_HAS_AVX512"} <= set(objects[name].flags)


def test_other_machines_have_the_baseline_only(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.platform, "machine", lambda: "aarch64")
    built = parameters("cpu")
    assert built.instruction_sets == ("baseline",)
    assert not [flag for item in built.objects for flag in item.flags if "FLOWPRIOR_HAS" in flag]


def test_the_stable_abi_of_torch_2_10_whatever_torch_builds(machine: Path) -> None:
    for item in parameters("cuda").objects:
        assert "-DTORCH_TARGET_VERSION=0x020a000000000000" in item.flags
        assert item.flags[item.flags.index("/torch/include") - 1] == "-isystem"
    assert parameters("cpu").facts()["torch_abi"] == "2.10"


def test_python_is_the_modules_matter_alone(machine: Path) -> None:
    objects = named(parameters("cpu"))
    assert "/pybind11" in objects.pop("module.cpp.o").flags
    assert not any("/pybind11" in item.flags for item in objects.values())


def test_warnings_are_errors_on_request(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWPRIOR_WERROR", "0")
    assert not [item for item in parameters("cuda").objects if "-Werror" in item.flags]
    monkeypatch.setenv("FLOWPRIOR_WERROR", "1")
    assert all("-Werror" in item.flags for item in parameters("cuda").objects)


def test_torchs_libraries_are_needed_by_name_and_found_by_nobody(machine: Path) -> None:
    cpu, cuda = parameters("cpu").link, parameters("cuda").link
    assert cpu[:2] == ("-L/torch/lib", "-Wl,--no-as-needed")
    assert {"-ltorch_cpu", "-ltorch", "-lc10"} <= set(cpu)
    assert set(cuda) - set(cpu) >= {"-ltorch_cuda", "-lcudart_static"}
    assert not [flag for flag in (*cpu, *cuda) if "rpath" in flag]


def test_cuda_compiles_for_two_cards_and_those_to_come(machine: Path) -> None:
    built = parameters("cuda")
    device = named(built)["cuda-answer.cu.o"]
    assert device.rule == "nvcc"
    assert [flag for flag in device.flags if flag.startswith("-gencode")] == [
        "-gencode=arch=compute_80,code=sm_80",
        "-gencode=arch=compute_90,code=[sm_90,compute_90]",
    ]
    assert device.flags[device.flags.index("-ccbin") + 1] == "g++"
    assert "-cudart=static" in device.flags
    host = named(built)["cpu-answer.cpp.o"].flags
    assert "-DFLOWPRIOR_CUDA" in host
    assert "/cuda/include" in host
    assert built.facts()["architectures"] == "8.0 9.0+PTX"


def test_architectures_from_the_environment(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "9.0a 12.0+PTX")
    flags = named(parameters("cuda"))["cuda-answer.cu.o"].flags
    assert "-gencode=arch=compute_90a,code=sm_90a" in flags
    assert "-gencode=arch=compute_120,code=[sm_120,compute_120]" in flags
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "8.0;Hopper")
    with pytest.raises(BuildError, match=r"TORCH_CUDA_ARCH_LIST: expected .* got 'Hopper'"):
        parameters("cuda")


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
    assert all(item.flags[:2] == ("-g", "-DNAME=a b") for item in built.objects)
    assert built.link[-1] == "-Wl,-O1"


def test_the_ninja_file_has_an_edge_for_each_object(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXXFLAGS", "'-DPRICE=$5 a'")
    built = parameters("cuda")
    text = ninja_file(built)
    edges = [line for line in text.splitlines() if line.startswith("build ")]
    assert len(edges) == len(built.objects) + 1
    assert f"build {built.folder}/cuda-answer.cu.o: nvcc csrc/cuda/answer.cu" in edges
    assert "-MD -MF $out.d" in text
    assert "'-DPRICE=$$5 a'" in text
