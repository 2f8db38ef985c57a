"""The recipes of docs/architecture.md work as they are written, in as many files as they say.

Each is followed in a copy of the package: its files are written, its lines added, and the contract tests run
on what came of it, with the recipe's own test.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.markdown_blocks import REPOSITORY, blocks

PAGE = REPOSITORY / "docs" / "architecture.md"
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.so", "_build.json")
MOST_FILES = 3
RECIPES = {
    "priors": ("laplace", "tests/test_components.py", "tests/priors/test_laplace.py"),
    "couplings": ("sorted", "tests/test_components.py", "tests/couplings/test_sorted.py"),
    "samplers": ("ralston", "tests/test_components.py", "tests/samplers/test_fixed.py"),
}


def files_of(room: str) -> dict[str, str]:
    """File -> what the recipe of a family writes there; the path is the first line of a block."""
    found = {}
    for block in blocks(PAGE, "py"):
        head, _, text = block.partition("\n")
        if f"/{room}/" in head:
            found[head.removeprefix("# ").split(",")[0]] = text
    return found


def follow(path: Path, text: str) -> None:
    """Write a new file, or change one as a reader would: imports, names in ``__all__``, constants."""
    if not path.exists():
        path.write_text(text, encoding="utf-8")
        return
    old = path.read_text(encoding="utf-8")
    for line in text.splitlines():
        name = line.split(" = ")[0]
        if line.startswith("from "):
            old = re.sub(r"^from ", f"{line}\nfrom ", old, count=1, flags=re.MULTILINE)
        elif line.startswith('    "'):
            old = old.replace("__all__ = [\n", f"__all__ = [\n{line}\n")
        else:
            old, changed = re.subn(rf"^{name} = .*$", line, old, flags=re.MULTILINE)
            assert changed == 1, f"{path.name} has no line {name} = …"
    path.write_text(old, encoding="utf-8")


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package and its tests, in pure torch, where recipes may be followed."""
    folder = tmp_path_factory.mktemp("house")
    for name in ("flowprior", "tests"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=LEFT_OUT)
    shutil.copy(REPOSITORY / "pyproject.toml", folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("room", RECIPES)
def test_a_component_is_added_as_the_page_says(copied: Path, room: str) -> None:
    name, *tests = RECIPES[room]
    written = files_of(room)
    assert 0 < len(written) <= MOST_FILES
    for file, text in written.items():
        follow(copied / file, text)
    own = {"PYTHONPATH": str(copied), "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_ADDOPTS": ""}
    environment = {**os.environ, **own}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", name, *tests]
    run = subprocess.run(command, cwd=copied, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-3000:]
    passed = re.search(r"(\d+) passed", run.stdout)
    assert passed, run.stdout[-3000:]
    assert int(passed[1]) > len(tests), "the contract ran over the new component"


RENAME = """
import torch
from safetensors.torch import load_file
from flowprior import Flow

flow = Flow.load("tests/old_files/flows/learned-mean-posterior")
assert (flow.prior.passes, flow.prior.name) == (1, "learned-mean"), flow.prior
expected = load_file("tests/old_files/expected.safetensors")
flow.coupling.source = lambda *arguments, **options: expected["source learned-mean-posterior"]
drawn = flow.sample(torch.arange(6) % 3, nfe=3)
torch.testing.assert_close(drawn, expected["learned-mean-posterior"], rtol=1e-5, atol=1e-5)
"""


@pytest.mark.slow
def test_an_option_is_renamed_in_one_file_and_old_files_load(copied: Path) -> None:
    file = copied / "flowprior" / "priors" / "learned_mean.py"
    text = re.sub(r"\bepochs\b", "passes", file.read_text(encoding="utf-8"))
    text, changed = re.subn(r"option_aliases=\{", 'option_aliases={"epochs": "passes", ', text)
    assert changed == 1
    file.write_text(text, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(copied), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", RENAME]
    run = subprocess.run(command, cwd=copied, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
