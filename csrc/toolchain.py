"""What a build of the native extension needs, and where it is: compiler, torch, nvcc.

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
from pathlib import Path
from typing import NamedTuple

MINIMUM_TORCH = "2.10"  # of the stable ABI that the sources are written against
FIND = "import importlib.util as u; s = u.find_spec('torch'); print(s.origin if s and s.origin else '')"


class BuildError(Exception):
    """Why the extension cannot be built, in one line."""


class Torch(NamedTuple):
    """An installed torch: its folder, version, and the CUDA version of its build or None."""

    folder: Path
    version: str
    cuda: str | None


class Cuda(NamedTuple):
    """A CUDA toolkit: its compiler and its version."""

    nvcc: Path
    version: str

    @property
    def home(self) -> Path:
        """Its folder."""
        return self.nvcc.parent.parent


def find_compiler() -> list[str]:
    """The words of ``CXX``, else ``c++``: a compiler of C++20.

    Raises:
        BuildError: there is none, or Python's own headers are missing.
    """
    if not sys.platform.startswith("linux"):
        raise BuildError(f"the native extension is built on Linux only, and this is {sys.platform}")
    command = shlex.split(os.environ.get("CXX") or "c++")
    if shutil.which(command[0]) is None:
        raise BuildError(
            f"no C++ compiler was found ({shlex.join(command)}); install one, such as Debian's g++"
        )
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        raise BuildError("Python.h is missing; install Python's headers, such as Debian's python3-dev")
    return command


def find_torch() -> Torch:
    """The torch that this Python imports, or, under pip's build isolation, the one of the target environment.

    Raises:
        BuildError: there is none, or it is older than the stable ABI needs.
    """
    spec = importlib.util.find_spec("torch")
    # With none of the variables by which pip isolates a build (PEP 517).
    origin = spec.origin if spec else output_of([sys.executable, "-E", "-P", "-c", FIND])
    if not origin:
        raise BuildError(
            f"torch was not found when flowprior was built; pip install 'torch>={MINIMUM_TORCH}' first"
        )
    said = runpy.run_path(str(Path(origin).with_name("version.py")))
    torch = Torch(Path(origin).parent, str(said["__version__"]), said.get("cuda"))
    if _release(torch.version) < _release(MINIMUM_TORCH):
        raise BuildError(
            f"torch {torch.version} is installed, and the extension needs {MINIMUM_TORCH} or newer"
        )
    return torch


def find_cuda(torch: Torch) -> Cuda:
    """The toolkit of ``CUDA_HOME``, else /usr/local/cuda or around the nvcc on ``PATH``, if it fits torch.

    Raises:
        BuildError: torch is not a CUDA build, there is no nvcc, or its major version is another.
    """
    if torch.cuda is None:
        raise BuildError(f"torch {torch.version} is not a CUDA build")
    home = os.environ.get("CUDA_HOME")
    folders = f"{home}/bin" if home else f"/usr/local/cuda/bin:{os.environ.get('PATH', '')}"
    nvcc = shutil.which("nvcc", path=folders)
    if nvcc is None:
        raise BuildError(f"no nvcc in {folders}; set CUDA_HOME to a CUDA {torch.cuda} toolkit")
    found = re.search(r"release (\d+\.\d+)", output_of([nvcc, "--version"]))
    version = found[1] if found else "an unknown release"
    if version.split(".")[0] != torch.cuda.split(".")[0]:
        raise BuildError(f"torch is built for CUDA {torch.cuda}, and {nvcc} is of CUDA {version}")
    return Cuda(Path(nvcc), version)


def output_of(command: list[str]) -> str:
    """What a program writes to stdout."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _release(version: str) -> list[int]:
    """``"2.13.0+cpu"`` -> ``[2, 13]``."""
    return [int(number) for number in re.findall(r"\d+", version)[:2]]
