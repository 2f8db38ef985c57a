"""What must hold of a build's objects: ``python -m csrc.checks`` looks at every folder of build/native.

- No CUDA kernel spills registers: ptxas says so for each, and its words are kept beside the object.
- Objects for AVX2 and AVX-512 define no weak symbol. The linker keeps one of several, and could hand code for
  a newer machine to the rest of the module.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from csrc.parameters import OBJECTS, ROOT, instruction_sets

SPILL = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")


def spills(log: str) -> list[str]:
    """Lines of ptxas's output on one object that tell of spilled registers, or that it says nothing."""
    counts = list(SPILL.finditer(log))
    if not counts:
        return ["ptxas says nothing of spills; it is to run with -v"]
    return [found[0] for found in counts if found[1] != "0" or found[2] != "0"]


def weak_symbols(nm: str) -> list[str]:
    """Names of the weak and unique symbols that ``nm --defined-only`` lists."""
    fields = (line.split(maxsplit=2) for line in nm.splitlines())
    return [words[2] for words in fields if len(words) == 3 and words[1] in "WVuwv"]


def problems(folder: Path) -> list[str]:
    """Everything wrong with the objects in one folder."""
    found = [
        f"{log}: {line}" for log in sorted(folder.glob("*.cu.o.log")) for line in spills(log.read_text())
    ]
    for name in instruction_sets():
        for item in sorted(folder.glob(f"*-{name}.o")) if name != "baseline" else []:
            command = ["nm", "--demangle", "--defined-only", str(item)]
            listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            found += [f"{item}: weak symbol {symbol}" for symbol in weak_symbols(listing)]
    return found


def main() -> int:
    """Says what was looked at, or what is wrong."""
    folders = sorted(path for path in (ROOT / OBJECTS).glob("*") if path.is_dir())
    wrong = [line for folder in folders for line in problems(folder)]
    looked = [len(list((ROOT / OBJECTS).glob(f"*/{pattern}"))) for pattern in ("*.cu.o.log", "*-avx*.o")]
    seen = "{} CUDA objects without spills, {} AVX objects without weak symbols".format(*looked)
    sys.stderr.write("\n".join(wrong or [seen]) + "\n")
    return 1 if wrong or not folders else 0


if __name__ == "__main__":
    sys.exit(main())
