"""What must hold of a build's objects: ``python -m csrc.checks`` looks at every folder of build/native.

- No CUDA kernel spills registers, and none uses more of them than ``registers.json`` allows. ptxas counts
  both, and its output is kept beside the object. ``python -m csrc.checks --write`` makes the counts of the
  present build the bounds.
- Objects for AVX2 define no weak symbol. The linker keeps one of several, and could hand code for
  a newer machine to the rest of the module.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from csrc.parameters import OBJECTS, ROOT

BOUNDS = ROOT / "csrc" / "registers.json"
ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(sm_\d+)'.*?Used (\d+) registers", re.DOTALL)
SPILL = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")


def spills(log: str) -> list[str]:
    """Lines of ptxas's output on one object that tell of spilled registers, or that it says nothing."""
    counts = list(SPILL.finditer(log))
    if not counts:
        return ["ptxas says nothing of spills; it is to run with -v"]
    return [found[0] for found in counts if found[1] != "0" or found[2] != "0"]


def registers(log: str) -> dict[str, int]:
    """The most registers a thread of each kernel uses, over all types and sizes: ``fill sm_80`` → 40."""
    most: dict[str, int] = {}
    for mangled, architecture, count in ENTRY.findall(log):
        kernel = f"{plain_name(mangled)} {architecture}"
        most[kernel] = max(most.get(kernel, 0), int(count))
    return most


def plain_name(mangled: str) -> str:
    """The last identifier of a mangled name, without namespaces and arguments: ``_Z4fillPflm`` → ``fill``."""
    rest, name = re.sub(r"^_ZN?K?", "", mangled), mangled
    while found := re.match(r"L?(\d+)", rest):
        start, end = found.end(), found.end() + int(found[1])
        name, rest = rest[start:end], rest[end:]
    return name


def excess(counts: dict[str, int], bounds: dict[str, int]) -> list[str]:
    """Kernels that use more registers than their bound, and kernels without one."""
    return [
        f"{kernel} uses {count} registers, its bound is {bounds.get(kernel, 'missing')}; "
        "if that is meant: python -m csrc.checks --write"
        for kernel, count in sorted(counts.items())
        if count > bounds.get(kernel, 0)
    ]


def weak_symbols(nm: str) -> list[str]:
    """Names of the weak and unique symbols that ``nm --defined-only`` lists."""
    fields = (line.split(maxsplit=2) for line in nm.splitlines())
    return [words[2] for words in fields if len(words) == 3 and words[1] in "WVuwv"]


def problems(folder: Path) -> list[str]:
    """Everything wrong with the objects in one folder."""
    logs = sorted(folder.glob("*.cu.o.log"))
    found = [f"{log}: {line}" for log in logs for line in spills(log.read_text())]
    for item in sorted(folder.glob("avx2*.o")):
        command = ["nm", "--demangle", "--defined-only", str(item)]
        listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found += [f"{item}: weak symbol {symbol}" for symbol in weak_symbols(listing)]
    return found


def main(arguments: Sequence[str] = ()) -> int:
    """Write what was looked at, or what is wrong; with ``--write`` set the bounds first."""
    folders = sorted(path for path in (ROOT / OBJECTS).glob("*") if path.is_dir())
    logs = sorted((ROOT / OBJECTS).glob("*/*.cu.o.log"))
    counts = registers("".join(log.read_text() for log in logs))
    if "--write" in arguments:
        BOUNDS.write_text(json.dumps(counts, indent=1, sort_keys=True) + "\n")
    wrong = [line for folder in folders for line in problems(folder)]
    wrong += excess(counts, json.loads(BOUNDS.read_text()))
    vector = len(list((ROOT / OBJECTS).glob("*/avx2*.o")))
    seen = (
        f"{len(logs)} CUDA objects without spills, {len(counts)} kernels within their registers, "
        f"{vector} AVX2 objects without weak symbols"
    )
    sys.stderr.write("\n".join(wrong or [seen]) + "\n")
    return 1 if wrong or not folders else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
