"""What a build of the native extension needs, and where it is: compiler, ninja, pybind11, torch, nvcc.

Nothing here imports torch: its folder and its ``version.py`` say enough, and an import takes seconds.
"""

from __future__ import annotations

import importlib.util
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

MINIMUM_TORCH = (2, 10)  # of the stable ABI that the sources are written against


class BuildError(Exception):
    """Why the extension cannot be built, in one line."""


@dataclass(frozen=True)
class Compiler:
    """A C++20 compiler: the words of its command, and what it says its version is."""

    command: tuple[str, ...]
    version: str


@dataclass(frozen=True)
class Torch:
    """An installed torch: its folder, version, and the CUDA version of its build or None."""

    folder: Path
    version: str
    cuda: str | None


@dataclass(frozen=True)
class Cuda:
    """A CUDA toolkit: its folder, the nvcc in it, and its version."""

    home: Path
    nvcc: Path
    version: str


def find_compiler() -> Compiler:
    """The compiler of ``CXX``, or the first of c++, g++ and clang++ on ``PATH``; it must read a C++20 header.

    Raises:
        BuildError: there is none, it is too old, or Python's own headers are missing.
    """
    if not sys.platform.startswith("linux"):
        raise BuildError(f"the native extension is built on Linux only, and this is {sys.platform}")
    named = shlex.split(os.environ.get("CXX", ""))
    candidates = [named] if named else [["c++"], ["g++"], ["clang++"]]
    found = next((words for words in candidates if shutil.which(words[0])), None)
    if found is None:
        tried = f"CXX={shlex.join(named)}" if named else "c++, g++ and clang++"
        raise BuildError(f"no C++ compiler was found ({tried}); install one, such as Debian's g++")
    probe = _run([*found, "-std=c++20", "-fsyntax-only", "-x", "c++", "-"], "#include <concepts>\n")
    if probe.returncode:
        raise BuildError(f"{shlex.join(found)} does not compile C++20: {_first_line(probe.stderr)}")
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        raise BuildError("Python.h is missing; install Python's headers, such as Debian's python3-dev")
    return Compiler(tuple(found), _first_line(_run([*found, "--version"]).stdout))


def find_ninja() -> str:
    """The ninja on ``PATH`` or of the package ``ninja``.

    Raises:
        BuildError: there is neither.
    """
    on_path = shutil.which("ninja")
    if on_path:
        return on_path
    if importlib.util.find_spec("ninja") is None:
        raise BuildError("ninja was not found; pip install ninja")
    from ninja import BIN_DIR  # pyright: ignore[reportMissingImports]

    return str(Path(BIN_DIR) / "ninja")


def find_pybind11() -> Path:
    """Folder of pybind11's headers.

    Raises:
        BuildError: the package is missing.
    """
    spec = importlib.util.find_spec("pybind11")
    if spec is None or not spec.submodule_search_locations:
        raise BuildError("pybind11 was not found; pip install pybind11")
    return Path(spec.submodule_search_locations[0]) / "include"


def find_torch() -> Torch:
    """The torch that this Python imports, or, under pip's build isolation, the one of the target environment.

    Raises:
        BuildError: there is none, or it is older than the stable ABI needs.
    """
    needed = ".".join(map(str, MINIMUM_TORCH))
    found = [read_torch(folder) for folder in (_importable_torch(), _target_torch()) if folder]
    if not found:
        raise BuildError(f"torch was not found when flowprior was built; pip install 'torch>={needed}' first")
    fitting = [torch for torch in found if release(torch.version) >= MINIMUM_TORCH]
    if not fitting:
        raise BuildError(f"torch {found[0].version} is installed, and the extension needs {needed} or newer")
    return fitting[0]


def read_torch(folder: Path) -> Torch:
    """What ``version.py`` in torch's folder says."""
    said = runpy.run_path(str(folder / "version.py"))
    return Torch(folder, str(said["__version__"]), said.get("cuda"))


def release(version: str) -> tuple[int, int]:
    """``"2.13.0+cpu"`` -> ``(2, 13)``."""
    major, minor = re.findall(r"\d+", version)[:2]
    return int(major), int(minor)


def find_cuda(torch: Torch) -> Cuda:
    """The toolkit of ``CUDA_HOME``, else /usr/local/cuda, else around the nvcc on ``PATH``, if it fits torch.

    Raises:
        BuildError: torch is not a CUDA build, there is no nvcc, or its major version is another.
    """
    if torch.cuda is None:
        raise BuildError(f"torch {torch.version} is not a CUDA build")
    named = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    on_path = shutil.which("nvcc")
    homes = (
        [named] if named else ["/usr/local/cuda", *([str(Path(on_path).parent.parent)] if on_path else [])]
    )
    nvcc = next((path for home in homes if (path := Path(home) / "bin" / "nvcc").exists()), None)
    if nvcc is None:
        raise BuildError(f"no nvcc in {' or '.join(homes)}; set CUDA_HOME to a CUDA {torch.cuda} toolkit")
    said = _run([str(nvcc), "--version"])
    match = re.search(r"release (\d+)\.(\d+)", said.stdout)
    if match is None:
        raise BuildError(
            f"{nvcc} --version does not say a release: {_first_line(said.stderr or said.stdout)}"
        )
    version = f"{match[1]}.{match[2]}"
    if match[1] != torch.cuda.split(".")[0]:
        raise BuildError(f"torch is built for CUDA {torch.cuda}, and {nvcc} is of CUDA {version}")
    return Cuda(nvcc.parent.parent, nvcc, version)


def _importable_torch() -> Path | None:
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent


def _target_torch() -> Path | None:
    """Asks this interpreter with none of the variables by which pip isolates a build (PEP 517)."""
    question = (
        "import importlib.util as u; s = u.find_spec('torch'); print(s.origin if s and s.origin else '')"
    )
    answer = _run([sys.executable, "-E", "-P", "-c", question]).stdout.strip()
    return Path(answer).parent if answer else None


def _run(command: list[str], text: str = "") -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "it says nothing")
