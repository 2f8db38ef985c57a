"""The build parameters of the native extension: the one place that knows sources and flags.

Every way of building asks :func:`parameters`: a wheel, an editable install, ``python -m csrc.build``, with
CUDA or without. The kernels of the CPU are compiled once for each instruction set, which is why torch's own
``cpp_extension``, with one list of flags for all files, does not serve.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import re
import shlex
import sys
import sysconfig
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from csrc.toolchain import (
    MINIMUM_TORCH,
    BuildError,
    Cuda,
    Torch,
    find_compiler,
    find_cuda,
    find_torch,
    output_of,
)

ROOT = Path(__file__).parent.parent
OBJECTS = Path("build/native")
TORCH_TARGET = "0x{:02x}{:02x}000000000000".format(*map(int, MINIMUM_TORCH.split(".")))
DEFAULT_ARCHITECTURES = "8.0;9.0+PTX"

WARNINGS = ("-Wall", "-Wextra", "-Wshadow")
HOST = ("-std=c++20", "-O3", "-fPIC", "-fvisibility=hidden", "-fvisibility-inlines-hidden", *WARNINGS)
# Vector code needs the compiler free of errno and traps; results must not depend on whether it contracts.
ARITHMETIC = ("-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off", "-fopenmp-simd")
AVX2 = ("-mavx2", "-mfma", "-mbmi2")
DEVICE = ("-std=c++20", "-O3", "-cudart=static", "-Xptxas", "-v,-warn-spills")


class Rule(NamedTuple):
    """Files that are compiled alike: the words of the command before input and output, and the files."""

    command: list[str]
    sources: list[Path]


class Parameters(NamedTuple):
    """Everything a build needs to know; paths but those of tools are relative to the repository.

    Attributes:
        folder: of its objects.
        rules: by name, in the order in which their objects are linked.
        link: words of the command that links them, before input and output.
        facts: what the build's record says beside the reason.
    """

    folder: Path
    rules: dict[str, Rule]
    link: list[str]
    facts: dict[str, Any]


def parameters(variant: str) -> Parameters:
    """The parameters of a variant, ``"cpu"`` or ``"cuda"``, on this machine.

    Raises:
        BuildError: something that the variant needs is missing.
    """
    compiler, torch = find_compiler(), find_torch()
    cuda = find_cuda(torch) if variant == "cuda" else None
    architectures = os.environ.get("TORCH_CUDA_ARCH_LIST") or DEFAULT_ARCHITECTURES
    facts = {
        "variant": variant,
        "torch": torch.version,
        "torch_abi": MINIMUM_TORCH,
        "cuda": cuda and cuda.version,
        "architectures": re.split(r"[;,\s]+", architectures.strip()) if cuda else [],
        "compiler": output_of([*compiler, "--version"]).partition("\n")[0],
        "instruction_sets": list(instruction_sets()),
        "flags": shlex.join((*HOST, *ARITHMETIC)),
    }
    rules = _host_rules(compiler, torch, cuda)
    if cuda:
        rules["device"] = _device_rule(compiler, torch, cuda, facts["architectures"])
    # Builds that differ in these share no objects; edits and flags are ninja's matter.
    apart = json.dumps([facts, str(torch.folder), sysconfig.get_path("include")])
    digest = hashlib.sha256(apart.encode()).hexdigest()[:8]
    folder = OBJECTS / f"{variant}-{sys.implementation.cache_tag}-{digest}"
    return Parameters(folder, rules, [*compiler, "-shared", *_link_flags(torch, cuda)], facts)


def version() -> str:
    """flowprior's version, from pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def module_name() -> str:
    """File name of ``flowprior._C`` for this Python."""
    return f"_C{sysconfig.get_config_var('EXT_SUFFIX')}"


def instruction_sets() -> dict[str, tuple[str, ...]]:
    """The sets that the kernels are compiled for on this machine's architecture, with the flags of each."""
    if platform.machine() in ("x86_64", "AMD64"):
        return {"baseline": (), "avx2": AVX2}
    return {"baseline": ()}


def _host_rules(compiler: list[str], torch: Torch, cuda: Cuda | None) -> dict[str, Rule]:
    """Code for every machine comes first: of an inline function in several objects, ld takes the first."""
    if importlib.util.find_spec("pybind11") is None:
        raise BuildError("pybind11 was not found; pip install pybind11")
    from pybind11 import get_include

    folders = [get_include(), sysconfig.get_path("include"), *([str(cuda.home / "include")] if cuda else [])]
    common = [*compiler, *_words("CXXFLAGS"), *HOST, *ARITHMETIC, *_if_warnings_fail("-Werror")]
    common += [*_shared_flags(torch, cuda), *(word for folder in folders for word in ("-isystem", folder))]
    built = [f"-DFLOWPRIOR_HAS_{name.upper()}" for name in instruction_sets() if name != "baseline"]
    rules = {"host": Rule([*common, *built], _sources("*.cpp", "cpu/*.cpp"))}
    for name, flags in instruction_sets().items():
        rules[name] = Rule([*common, *flags, f"-DFLOWPRIOR_ISA={name}"], _sources("cpu/kernels/*.cpp"))
    return rules


def _device_rule(compiler: list[str], torch: Torch, cuda: Cuda, architectures: list[str]) -> Rule:
    host = ["-ccbin", next(word for word in reversed(compiler) if not word.startswith("-"))]
    host += ["-Xcompiler", ",".join(("-fPIC", "-fvisibility=hidden", *WARNINGS))]
    werror = _if_warnings_fail("-Werror", "all-warnings", "-Xcompiler", "-Werror")
    flags = [*DEVICE, *werror, *host, *map(_code_generation, architectures), *_shared_flags(torch, cuda)]
    return Rule([str(cuda.nvcc), *flags], _sources("cuda/*.cu"))


def _shared_flags(torch: Torch, cuda: Cuda | None) -> list[str]:
    """What host and device code share: torch's stable ABI, and whether CUDA is built for."""
    defines = ["-DFLOWPRIOR_CUDA", "-DUSE_CUDA"] if cuda else []
    headers = ["-Icsrc", "-isystem", str(torch.folder / "include")]
    return [f"-DTORCH_TARGET_VERSION={TORCH_TARGET}", *defines, *headers]


def _link_flags(torch: Torch, cuda: Cuda | None) -> list[str]:
    """torch's libraries by name, without a path: at run time they are those of the torch already imported."""
    flags = [f"-L{torch.folder / 'lib'}", "-Wl,--no-as-needed", "-ltorch_cpu", "-ltorch", "-lc10"]
    if cuda:
        folders = [f"-L{cuda.home / name}" for name in ("lib64", "lib")]
        flags += ["-ltorch_cuda", "-Wl,--as-needed", *folders, "-lcudart_static", "-ldl", "-lrt", "-lpthread"]
    return [*flags, "-Wl,-z,now", "-Wl,--exclude-libs,ALL", *_words("LDFLAGS")]


def _sources(*patterns: str) -> list[Path]:
    return sorted(path.relative_to(ROOT) for pattern in patterns for path in (ROOT / "csrc").glob(pattern))


def _words(variable: str) -> list[str]:
    return shlex.split(os.environ.get(variable, ""))


def _if_warnings_fail(*flags: str) -> tuple[str, ...]:
    return flags if os.environ.get("FLOWPRIOR_WERROR", "0") not in ("", "0") else ()


def _code_generation(architecture: str) -> str:
    number = architecture.removesuffix("+PTX").replace(".", "")
    code = f"[sm_{number},compute_{number}]" if architecture.endswith("+PTX") else f"sm_{number}"
    return f"-gencode=arch=compute_{number},code={code}"
