"""Build the native extension: ``python -m csrc.build``, and what setup.py calls.

``FLOWPRIOR_BUILD`` says what is wanted:

- ``auto`` (default): the CUDA extension if torch is a CUDA build and nvcc fits it, else the CPU extension if
  there are a compiler and torch, else none. Nothing that fails is an error: the build's record says why.
- ``cpu``, ``cuda``: that one, and an error if it cannot be built.
- ``none``: no extension.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from csrc.parameters import ROOT, Parameters, module_name, parameters, version
from csrc.toolchain import BuildError

CHOICES = ("auto", "cpu", "cuda", "none")
RECORD = "_build.json"
KEPT = " > $out.log 2>&1 || { cat $out.log; exit 1; }"
"""Keeps nvcc's output, ptxas's register counts among it, beside the object, for csrc/checks.py."""
ERROR = re.compile(r"\berror(:| #\d)|undefined reference")


def wanted() -> str:
    """The value of ``FLOWPRIOR_BUILD``.

    Raises:
        BuildError: it is none of the four.
    """
    value = os.environ.get("FLOWPRIOR_BUILD") or "auto"
    if value not in CHOICES:
        raise BuildError(f"FLOWPRIOR_BUILD: expected one of {', '.join(CHOICES)}, got {value!r}")
    return value


def install(choice: str, package: Path) -> dict[str, Any]:
    """Build what ``choice`` asks for and put module and record into the folder ``package``.

    Where no module comes of it, the one that an earlier build left goes: it must not pass for this one's.

    Returns:
        The record, ``flowprior/_build.json`` in the installed package: what was built, or why nothing was.

    Raises:
        BuildError: ``cpu`` or ``cuda`` cannot be built; what an earlier build left stays.
    """
    found, record = _attempt(choice)
    package.mkdir(parents=True, exist_ok=True)
    module = package / module_name()
    if found is None:
        module.unlink(missing_ok=True)
    else:  # renamed into place: a process that has the old module open keeps it
        temporary = shutil.copy2(found, f"{module}.{os.getpid()}")
        Path(temporary).replace(module)
    (package / RECORD).write_text(json.dumps(record, indent=1) + "\n")
    return record


def _attempt(choice: str) -> tuple[Path | None, dict[str, Any]]:
    """The module, and what is recorded of it."""
    record = {"variant": None, "reason": "", "requested": choice, "flowprior": version()}
    if choice == "none":
        return None, record | {"reason": "FLOWPRIOR_BUILD=none asked for none"}
    failures = []
    for variant in ("cuda", "cpu") if choice == "auto" else (choice,):
        try:
            built = parameters(variant)
            module = _compile(built)
        except (BuildError, OSError) as error:
            if choice != "auto":
                raise BuildError(f"FLOWPRIOR_BUILD={choice}: {error}") from error
            failures.append(str(error))
            continue
        cuda = built.facts["cuda"]
        served = f"built for the CPU and CUDA {cuda}" if cuda else "built for the CPU"
        reason = "; ".join([served, *(f"not for CUDA: {why}" for why in failures)])
        return module, record | built.facts | {"reason": reason}
    return None, record | {"reason": failures[-1]}


def _compile(built: Parameters) -> Path:
    """Compile and link; messages in English are passed on as they come, and kept. Returns the module."""
    folder = ROOT / built.folder
    folder.mkdir(parents=True, exist_ok=True)
    write_ninja_file(built, folder / "build.ninja")
    jobs = os.environ.get("MAX_JOBS") or str(len(os.sched_getaffinity(0)))
    command = [sys.executable, "-m", "ninja", "-f", str(built.folder / "build.ninja"), "-j", jobs]
    log, options = folder / "log.txt", {"text": True, "errors": "replace"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "env": {**os.environ, "LC_ALL": "C"}}
    with subprocess.Popen(command, cwd=ROOT, **pipes, **options) as process, log.open("w") as file:
        for line in process.stdout or ():
            sys.stderr.write(line)
            file.write(line)
    if process.returncode:
        lines = [line.strip() for line in log.read_text().splitlines()]
        errors = [line for line in lines if ERROR.search(line)] or lines[-1:]
        raise BuildError(f"compilation failed: {''.join(errors[:1])} (all of it: {log})")
    return folder / module_name()


def write_ninja_file(built: Parameters, path: Path) -> None:
    """Write one edge an object, and one to link them.

    Raises:
        BuildError: the package ``ninja`` is missing.
    """
    if importlib.util.find_spec("ninja") is None:
        raise BuildError("ninja was not found; pip install ninja")
    syntax = importlib.import_module("ninja.ninja_syntax")  # whose stubs allow less than it takes

    with path.open("w") as file:
        writer, objects = syntax.Writer(file, width=1 << 20), []
        writer.variable("builddir", str(built.folder))
        for name, rule in built.rules.items():
            command = f"{syntax.escape(shlex.join(rule.command))} -MD -MF $out.d -c $in -o $out"
            command += KEPT if name == "device" else ""
            writer.rule(name, command, depfile="$out.d", deps="gcc", description="compile $out")
            for source in rule.sources:
                objects += writer.build(str(built.folder / f"{name}-{source.name}.o"), name, str(source))
        writer.rule("link", f"{syntax.escape(shlex.join(built.link))} -o $out $in", description="link $out")
        writer.build(str(built.folder / module_name()), "link", objects)


def main() -> int:
    """The command ``python -m csrc.build``, which builds in place."""
    try:
        record = install(wanted(), ROOT / "flowprior")
    except BuildError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stderr.write(f"flowprior: {record['variant'] or 'no extension'} ({record['reason']})\n")
    return 0 if record["variant"] else 1


if __name__ == "__main__":
    sys.exit(main())
