"""Compare what a reader has to carry with .ci/size.json: python .ci/size.py, or --write to lower the record.

Python counts as statements, so that docstrings and layout cost nothing, csrc/ as lines, docs/ as words,
stored results as kilobytes, and what the packages list in ``__all__`` as public names. Prints each count
beside its record and exits with 1 where one is above it.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / ".ci" / "size.json"


def main() -> int:
    counts = measure(tracked_files())
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    above = [name for name in sorted(counts) if counts[name] > record.get(name, 0)]
    for name in sorted(counts):
        sys.stdout.write(f"{name:24}{counts[name]:8}{record.get(name, 0):8}\n")
    if above:
        sys.stderr.write(f"above .ci/size.json: {', '.join(above)}; make something else leave\n")
        return 1
    if "--write" in sys.argv[1:]:
        RECORD.write_text(json.dumps(counts, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return 0


def measure(files: list[Path]) -> dict[str, int]:
    """Count by name, such as ``flowprior statements``, over files given by their path from the root.

    What is in ``flowprior/extensions`` counts by itself, and not as part of ``flowprior``.
    """
    counts: Counter[str] = Counter()
    for file in files:
        top = file.parts[0]
        if file.suffix == ".py" and top in ("flowprior", "tests", "benchmarks", "docs"):
            part = "extensions" if file.parts[:2] == ("flowprior", "extensions") else top
            counts[f"{part} statements"] += statements((ROOT / file).read_text(encoding="utf-8"))
            counts["flowprior files"] += part == "flowprior"
        if file.parts[0] == "flowprior" and file.name == "__init__.py":
            counts["public names"] += len(public_names((ROOT / file).read_text(encoding="utf-8")))
        if top == "csrc":
            counts["csrc lines"] += len((ROOT / file).read_text(encoding="utf-8").splitlines())
        if file.parts[:2] == ("benchmarks", "results"):
            counts["results bytes"] += (ROOT / file).stat().st_size
        if top == "docs" and file.suffix == ".md" and file.name != "changelog.md":
            counts["docs words"] += len((ROOT / file).read_text(encoding="utf-8").split())
    counts["results kB"] = -(-counts.pop("results bytes", 0) // 1000)
    return dict(counts)


def statements(source: str) -> int:
    """The number of statements of a module, docstrings left out."""
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt)]
    return sum(not is_docstring(node) for node in found)


def public_names(source: str) -> list[str]:
    """Return the names that a module lists in ``__all__``."""
    lists = [
        node.value
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    return [name for names in lists for name in ast.literal_eval(names)]


def is_docstring(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def tracked_files() -> list[Path]:
    """Every file that git tracks, by its path from the root."""
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return [Path(name) for name in names.split("\0") if name and (ROOT / name).is_file()]


if __name__ == "__main__":
    sys.exit(main())
