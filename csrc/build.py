"""Build the native extension: ``python -m csrc.build``, and what setup.py calls.

``FLOWPRIOR_BUILD`` says what is wanted:

- ``auto`` (default): the CUDA extension if torch is a CUDA build and nvcc fits it, else the CPU extension if
  there are a compiler and torch, else none. Nothing that fails is an error: the build's record says why.
- ``cpu``, ``cuda``: that one, and an error if it cannot be built.
- ``none``: no extension.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from csrc.ninja_file import ninja_file
from csrc.parameters import ROOT, Parameters, module_name, parameters, version
from csrc.toolchain import BuildError, find_ninja, find_torch

CHOICES = ("auto", "cpu", "cuda", "none")
RECORD = "_build.json"
ERROR = re.compile(r"\berror(:| #\d)|undefined reference")


@dataclass(frozen=True)
class Record:
    """What was built, or why nothing was; ``flowprior/_build.json`` in the installed package."""

    variant: str | None
    reason: str
    requested: str
    flowprior: str
    torch: str | None = None
    cuda: str | None = None


def wanted() -> str:
    """The value of ``FLOWPRIOR_BUILD``.

    Raises:
        BuildError: it is none of the four.
    """
    value = os.environ.get("FLOWPRIOR_BUILD") or "auto"
    if value not in CHOICES:
        raise BuildError(f"FLOWPRIOR_BUILD: expected one of {', '.join(CHOICES)}, got {value!r}")
    return value


def install(choice: str, package: Path) -> Record:
    """Build what ``choice`` asks for and put module and record into the folder ``package``.

    Where no module comes of it, the one that an earlier build left goes: it must not pass for this one's.

    Raises:
        BuildError: ``cpu`` or ``cuda`` cannot be built; what an earlier build left stays.
    """
    module, record = _attempt(choice)
    package.mkdir(parents=True, exist_ok=True)
    if module is None:
        (package / module_name()).unlink(missing_ok=True)
    else:
        _put(module, package / module.name)
    (package / RECORD).write_text(json.dumps(asdict(record), indent=1) + "\n")
    return record


def compile_variant(variant: str) -> tuple[Path, Parameters]:
    """Compile and link one variant; returns the module and the parameters it was built with.

    Raises:
        BuildError: something is missing, or a compilation failed; ``log.txt`` beside the objects has all.
    """
    built = parameters(variant)
    folder = ROOT / built.folder
    folder.mkdir(parents=True, exist_ok=True)
    with _lock(folder / "lock"):
        _write_if_changed(folder / "build_info.h", _facts_header(built))
        _write_if_changed(folder / "build.ninja", ninja_file(built))
        _run_ninja(built)
    return folder / built.module, built


def _attempt(choice: str) -> tuple[Path | None, Record]:
    if choice == "none":
        return None, Record(None, "FLOWPRIOR_BUILD=none asked for none", choice, version())
    failures = []
    for variant in _candidates(choice):
        try:
            module, built = compile_variant(variant)
        except (BuildError, OSError) as error:
            if choice != "auto":
                raise BuildError(f"FLOWPRIOR_BUILD={choice}: {error}") from error
            failures.append(str(error))
            continue
        cuda = built.cuda.version if built.cuda else None
        served = f"built for the CPU and CUDA {cuda}" if cuda else "built for the CPU"
        reason = "; ".join([served, *(f"not for CUDA: {why}" for why in failures)])
        return module, Record(variant, reason, choice, version(), built.torch.version, cuda)
    return None, Record(None, failures[-1], choice, version())


def _candidates(choice: str) -> tuple[str, ...]:
    """``auto`` tries CUDA only where torch has it."""
    if choice != "auto":
        return (choice,)
    try:
        return ("cuda", "cpu") if find_torch().cuda else ("cpu",)
    except BuildError:
        return ("cpu",)


def _facts_header(built: Parameters) -> str:
    lines = (f"inline constexpr char {name}[] = {json.dumps(text)};" for name, text in built.facts().items())
    return "\n".join(
        ["#pragma once", "namespace flowprior::built {", *lines, "}  // namespace flowprior::built\n"]
    )


def _run_ninja(built: Parameters) -> None:
    jobs = os.environ.get("MAX_JOBS") or str(len(os.sched_getaffinity(0)))
    command = [find_ninja(), "-f", str(built.folder / "build.ninja"), "-j", jobs]
    status, lines = _run_aloud(command)
    log = ROOT / built.folder / "log.txt"
    log.write_text("\n".join(lines) + "\n")
    if status:
        errors = (
            [line for line in lines if ERROR.search(line)] or lines[-1:] or [f"ninja ended with {status}"]
        )
        raise BuildError(f"compilation failed: {errors[0]} (all of it: {log})")


def _run_aloud(command: list[str]) -> tuple[int, list[str]]:
    """Exit status and lines of output, which are passed on as they come; messages in English."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "LC_ALL": "C"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    lines = []
    with process:
        for line in process.stdout or ():
            sys.stderr.write(line)
            lines.append(line.strip())
    return process.returncode, lines


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """One build at a time in a folder of objects."""
    import fcntl  # not on Windows, where this file is only asked for the reason why nothing is built

    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _write_if_changed(path: Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def _put(source: Path, target: Path) -> None:
    """Copy under a temporary name and rename: a process that has the old module open keeps it."""
    temporary = target.with_name(f"{target.name}.{os.getpid()}")
    shutil.copy2(source, temporary)
    temporary.replace(target)


def _copy_by_links(out: Path) -> Path:
    """Make ``out`` a copy of the repository by links, for a second build to be used and tested in.

    Returns:
        Its folder ``flowprior``, whose module and record are not links.
    """
    package = out / "flowprior"
    package.mkdir(parents=True, exist_ok=True)
    _link_entries(ROOT, out, ("build", "dist", "flowprior", "runs"))
    _link_entries(ROOT / "flowprior", package, (RECORD, module_name(), "__pycache__"))
    return package


def _link_entries(source: Path, target: Path, without: tuple[str, ...]) -> None:
    for path in source.iterdir():
        link = target / path.name
        if path.name not in without and not path.name.startswith(".") and not link.is_symlink():
            link.symlink_to(os.path.relpath(path, target))


def main() -> int:
    """The command line of ``python -m csrc.build``."""
    parser = argparse.ArgumentParser(prog="python -m csrc.build", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--variant", choices=CHOICES, help="instead of FLOWPRIOR_BUILD")
    parser.add_argument(
        "--out", type=Path, help="folder for an importable copy of the package; default: in place"
    )
    arguments = parser.parse_args()
    package = _copy_by_links(arguments.out) if arguments.out else ROOT / "flowprior"
    try:
        record = install(arguments.variant or wanted(), package)
    except BuildError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stderr.write(f"{package}: {record.variant or 'no extension'} ({record.reason})\n")
    return 0 if record.variant else 1


if __name__ == "__main__":
    sys.exit(main())
