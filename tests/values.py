"""Compare what two trees compute: fits, samples, log-densities, losses of short trainings, and metrics.

    python -m tests.values --against main

Every valid combination of prior, coupling, path and prediction is trained for ten steps on a few digits, in
this tree as it lies here and in the commit that is named, both in this environment and with the pure-torch
operators, so that neither needs its extension built. A line is printed for each quantity that differs by
more than 1e-6 and a millionth of its size, and for each component that only one tree has. The exit status is
1 if a quantity differs, or if only one tree takes a combination whose components both have.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).parents[1]
WORKER = Path(__file__).with_name("values_of_tree.py")
TOLERANCE = 1e-6
HERE = "this tree"

Values = Mapping[str, np.ndarray]


def differences(here: Values, there: Values, commit: str) -> tuple[list[str], list[str]]:
    """Return a line for each difference, and one for each component that only one tree has.

    Args:
        here: "components: quantity" -> values of this tree.
        there: those of the other one.
        commit: name of the other tree.
    """
    components = {HERE: components_of(here), commit: components_of(there)}
    shared = components[HERE] & components[commit]
    names = [
        f"only {tree} has {component}"
        for tree, own in components.items()
        for component in sorted(own - shared)
    ]
    lines = []
    for name in sorted(here.keys() | there.keys()):
        if not components_of([name]) <= shared:
            continue
        if name not in here or name not in there:
            lines.append(f"{name}: only {HERE if name in here else commit} has it")
        elif (line := difference(here[name], there[name])) is not None:
            lines.append(f"{name}: {line}")
    return lines, names


def components_of(names: Mapping[str, np.ndarray] | list[str]) -> set[str]:
    """Return every component that these names, "prior gmm, coupling ot: quantity", begin with."""
    return {component for name in names for component in name.rpartition(": ")[0].split(", ")}


def difference(one: np.ndarray, other: np.ndarray) -> str | None:
    """Return the largest difference in words; None if the values are equal within the tolerance."""
    if one.shape != other.shape:
        return f"shape {list(one.shape)}, not {list(other.shape)}"
    if np.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True):
        return None
    return f"largest difference {np.abs(one - other).max():.3g}"


def extract(commit: str, folder: Path) -> None:
    """Write the package as it is in ``commit``, and what names its extensions, into ``folder``."""
    parts = ["flowprior", "pyproject.toml"]
    command = ["git", "-C", str(REPOSITORY), "archive", "--format=tar", commit, *parts]
    archive = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")


def values_of(trees: Mapping[str, Path], folder: Path) -> dict[str, Values]:
    """Return what each of the trees computes; they are run side by side, in ``folder``."""
    variables = {
        "FLOWPRIOR_OPS": "torch",
        "FLOWPRIOR_PROGRESS": "0",
        "FLOWPRIOR_CACHE": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    started = {}
    for place, (name, tree) in enumerate(trees.items()):
        target = folder / f"values-{place}.npz"
        command = [sys.executable, "-P", str(WORKER), str(target)]
        environment = {**os.environ, **variables, "PYTHONPATH": str(tree)}
        started[name] = target, subprocess.Popen(command, cwd=folder, env=environment)
    failed = [name for name, (_, process) in started.items() if process.wait()]
    if failed:
        raise SystemExit(f"values: {' and '.join(failed)} stopped with the error above")
    return {name: dict(np.load(target)) for name, (target, _) in started.items()}


def main(arguments: list[str] | None = None) -> int:
    """Print what differs and return the exit status."""
    parser = argparse.ArgumentParser("python -m tests.values", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--against", required=True, metavar="REF", help="commit, branch or tag of the other tree"
    )
    commit = parser.parse_args(arguments).against
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        extract(commit, folder / "tree")
        found = values_of({HERE: REPOSITORY, commit: folder / "tree"}, folder)
    lines, names = differences(found[HERE], found[commit], commit)
    trained = sum(name.endswith(": losses") for name in found[HERE])
    ending = f"{len(found[HERE])} values of {trained} trainings, {len(lines)} differ from {commit}"
    sys.stdout.write("".join(f"{line}\n" for line in [*names, *lines, ending]))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
