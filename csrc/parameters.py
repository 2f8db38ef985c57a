"""The build parameters of the native extension: the one place that knows sources and flags.

Every way of building asks :func:`parameters`: a wheel, an editable install, ``python -m csrc.build``, with
CUDA or without.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shlex
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from csrc.toolchain import (
    MINIMUM_TORCH,
    BuildError,
    Compiler,
    Cuda,
    Torch,
    find_compiler,
    find_cuda,
    find_pybind11,
    find_torch,
)

ROOT = Path(__file__).parent.parent
OBJECTS = Path("build/native")
TORCH_TARGET = "0x{:02x}{:02x}000000000000".format(*MINIMUM_TORCH)
DEFAULT_ARCHITECTURES = "8.0;9.0+PTX"

WARNINGS = ("-Wall", "-Wextra", "-Wshadow")
HOST = ("-std=c++20", "-O3", "-fPIC", "-fvisibility=hidden", "-fvisibility-inlines-hidden", *WARNINGS)
# Vector code needs the compiler free of errno and traps; results must not depend on whether it contracts.
ARITHMETIC = ("-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off", "-fopenmp-simd")
AVX2 = ("-mavx2", "-mfma", "-mf16c", "-mbmi2")
AVX512 = (*AVX2, "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mprefer-vector-width=512")
DEVICE = ("-std=c++20", "-O3", "-cudart=static", "-Xptxas", "-v,-warn-spills")


@dataclass(frozen=True)
class Object:
    """One compilation: source and object relative to the repository, the rule that compiles it, its flags."""

    source: Path
    output: Path
    rule: str
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Parameters:
    """Everything a build of one variant needs to know."""

    variant: str
    folder: Path
    module: str
    compiler: Compiler
    torch: Torch
    cuda: Cuda | None
    architectures: tuple[str, ...]
    instruction_sets: tuple[str, ...]
    objects: tuple[Object, ...]
    link: tuple[str, ...]

    def facts(self) -> dict[str, str]:
        """What ``flowprior._C.build_info()`` will say."""
        return {
            "flowprior": version(),
            "torch": self.torch.version,
            "torch_abi": ".".join(map(str, MINIMUM_TORCH)),
            "cuda": self.cuda.version if self.cuda else "",
            "architectures": " ".join(self.architectures),
            "compiler": self.compiler.version,
            "instruction_sets": " ".join(self.instruction_sets),
            "flags": shlex.join((*HOST, *ARITHMETIC)),
        }


def parameters(variant: str) -> Parameters:
    """The parameters of a variant, ``"cpu"`` or ``"cuda"``, on this machine.

    Raises:
        BuildError: something that the variant needs is missing.
    """
    compiler, torch = find_compiler(), find_torch()
    cuda = find_cuda(torch) if variant == "cuda" else None
    folder = OBJECTS / f"{variant}-{sys.implementation.cache_tag}-{_fingerprint(compiler, torch, cuda)}"
    architectures = tuple(_architectures()) if cuda else ()
    sets = instruction_sets()
    return Parameters(
        variant,
        folder,
        module_name(),
        compiler,
        torch,
        cuda,
        architectures,
        tuple(sets),
        (*_host_objects(folder, torch, cuda, sets), *_device_objects(folder, compiler, torch, architectures)),
        _link_flags(torch, cuda),
    )


def version() -> str:
    """flowprior's version, from pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def module_name() -> str:
    """File name of ``flowprior._C`` for this Python."""
    return f"_C{sysconfig.get_config_var('EXT_SUFFIX')}"


def instruction_sets() -> dict[str, tuple[str, ...]]:
    """The sets that the kernels are compiled for on this machine's architecture, with the flags of each."""
    if platform.machine() in ("x86_64", "AMD64"):
        return {"baseline": (), "avx2": AVX2, "avx512": AVX512}
    return {"baseline": ()}


def _host_objects(
    folder: Path, torch: Torch, cuda: Cuda | None, sets: dict[str, tuple[str, ...]]
) -> Iterator[Object]:
    """Code for every machine comes first: of an inline function in several objects, ld takes the first."""
    common = (
        *_user_flags("CXXFLAGS"),
        *(*HOST, *ARITHMETIC, *_werror()),
        *(*_defines(cuda), *_includes(torch, cuda)),
    )
    built = tuple(f"-DFLOWPRIOR_HAS_{name.upper()}" for name in sets if name != "baseline")
    for source in _sources("*.cpp", "cpu/*.cpp"):
        extra = _module_flags(folder) if source.name == "module.cpp" else ()
        yield Object(source, _object(folder, source), "cxx", (*common, *built, *extra))
    for name, flags in sets.items():
        for source in _sources("cpu/kernels/*.cpp"):
            output = _object(folder, source, name)
            yield Object(source, output, "cxx", (*common, *flags, f"-DFLOWPRIOR_ISA={name}"))


def _device_objects(
    folder: Path, compiler: Compiler, torch: Torch, architectures: tuple[str, ...]
) -> Iterator[Object]:
    if not architectures:
        return
    host = ("-fPIC", "-fvisibility=hidden", *WARNINGS)
    werror = ("-Werror", "all-warnings", "-Xcompiler", "-Werror") if _werror() else ()
    flags = (
        *DEVICE,
        *werror,
        *("-ccbin", next(word for word in reversed(compiler.command) if not word.startswith("-"))),
        *("-Xcompiler", ",".join(host)),
        *map(_code_generation, architectures),
        *_defines(cuda=True),
        *_includes(torch, None),
    )
    for source in _sources("cuda/*.cu"):
        yield Object(source, _object(folder, source), "nvcc", flags)


def _sources(*patterns: str) -> list[Path]:
    return sorted(path.relative_to(ROOT) for pattern in patterns for path in (ROOT / "csrc").glob(pattern))


def _object(folder: Path, source: Path, variant: str = "") -> Path:
    stem = "-".join(filter(None, (*source.parts[1:], variant)))
    return folder / f"{stem}.o"


def _werror() -> tuple[str, ...]:
    return ("-Werror",) if os.environ.get("FLOWPRIOR_WERROR", "0") not in ("", "0") else ()


def _defines(cuda: object) -> tuple[str, ...]:
    common = (f"-DTORCH_TARGET_VERSION={TORCH_TARGET}",)
    return (*common, "-DFLOWPRIOR_CUDA", "-DUSE_CUDA") if cuda else common


def _includes(torch: Torch, cuda: Cuda | None) -> tuple[str, ...]:
    flags = ("-Icsrc", "-isystem", str(torch.folder / "include"))
    return (*flags, "-isystem", str(cuda.home / "include")) if cuda else flags


def _module_flags(folder: Path) -> tuple[str, ...]:
    """module.cpp alone meets Python and pybind11, and the header that says how it was built."""
    python = sysconfig.get_path("include")
    return (f"-I{folder}", "-isystem", str(find_pybind11()), "-isystem", python)


def _link_flags(torch: Torch, cuda: Cuda | None) -> tuple[str, ...]:
    """torch's libraries by name, without a path: at run time they are those of the torch already imported."""
    libraries = ["torch_cpu", "torch", "c10", *(["torch_cuda"] if cuda else [])]
    flags = [f"-L{torch.folder / 'lib'}", "-Wl,--no-as-needed", *(f"-l{name}" for name in libraries)]
    if cuda:
        folder = next(
            (cuda.home / name for name in ("lib64", "lib") if (cuda.home / name).exists()), cuda.home
        )
        flags += ["-Wl,--as-needed", f"-L{folder}", "-lcudart_static", "-ldl", "-lrt", "-lpthread"]
    return (*flags, "-Wl,-z,now", "-Wl,--exclude-libs,ALL", *_user_flags("LDFLAGS"))


def _user_flags(variable: str) -> tuple[str, ...]:
    return tuple(shlex.split(os.environ.get(variable, "")))


def _architectures() -> list[str]:
    asked = os.environ.get("TORCH_CUDA_ARCH_LIST") or DEFAULT_ARCHITECTURES
    named = re.split(r"[;,\s]+", asked.strip())
    wrong = [name for name in named if not re.fullmatch(r"\d+\.\d[af]?(\+PTX)?", name)]
    if wrong:
        raise BuildError(
            f"TORCH_CUDA_ARCH_LIST: expected numbers such as {DEFAULT_ARCHITECTURES}, got {wrong[0]!r}"
        )
    return named


def _code_generation(architecture: str) -> str:
    number = architecture.removesuffix("+PTX").replace(".", "")
    code = f"sm_{number}"
    if architecture.endswith("+PTX"):
        code = f"[{code},compute_{number}]"
    return f"-gencode=arch=compute_{number},code={code}"


def _fingerprint(compiler: Compiler, torch: Torch, cuda: Cuda | None) -> str:
    """Tells builds apart that must not share objects; edits and flags are ninja's matter."""
    facts = [
        compiler.version,
        str(torch.folder),
        torch.version,
        cuda and cuda.version,
        sysconfig.get_path("include"),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:8]
