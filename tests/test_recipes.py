"""The recipes of docs/architecture.md and docs/api/metrics.md work as they are written, in so few files.

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

PAGE, PAGE_OF_METRICS = (REPOSITORY / "docs" / name for name in ("architecture.md", "api/metrics.md"))
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.so", "_build.json")
RECIPES = {
    "priors": (3, "laplace", "tests/test_components.py", "tests/priors/test_laplace.py"),
    "couplings": (3, "sorted", "tests/test_components.py", "tests/couplings/test_sorted.py"),
    "paths": (2, "quadratic", "tests/test_components.py", "tests/paths/test_paths.py"),
    "samplers": (2, "ralston", "tests/test_components.py", "tests/samplers/test_fixed.py"),
    "metrics": (3, "contrast", "tests/metrics/test_contract.py", "tests/metrics/test_contrast.py"),
}
"""The subpackage -> the largest number of files, the name of the new component, and the tests of it."""
OPTION = {
    "flowprior/priors/latent_gmm.py": {
        "        unseen: str = RAISE,\n": "        unseen: str = RAISE,\n        widening: float = 1.0,\n",
        "        unseen: ``": "        widening: factor of the latents that are drawn.\n        unseen: ``",
        "        self.unseen = unseen\n": "        self.unseen = unseen\n        self.widening = widening\n",
        "h = self.latents.sample(": "h = self.widening * self.latents.sample(",
    },
    "tests/priors/test_latent_gmm.py": {
        "def test_refusals(": """def test_widening(two_clusters):
    labels, found = torch.arange(6) % 2, []
    for widening in (1.0, 2.0):
        prior = fitted(two_clusters, widening=widening)
        drawn = prior.sample(labels, generator=torch.Generator().manual_seed(1))
        found.append(prior.spread(labels, 6).coordinates(drawn))
    torch.testing.assert_close(found[1], 2 * found[0])


def test_refusals(""",
    },
}
RENAMED = {
    "flowprior/priors/learned_mean.py": {
        "epochs": "passes",
        "option_aliases={": 'option_aliases={"epochs": "passes", ',
    },
}
"""Text -> what takes its place, in the files of a new option, and of one that gets another name."""
LOADING = """
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


def files_of(subpackage: str) -> dict[str, tuple[str, str]]:
    """File -> where in it, and what, the recipe of a component writes; a block's first line says which."""
    found = {}
    for block in blocks(PAGE_OF_METRICS if subpackage == "metrics" else PAGE, "py", "md"):
        head, _, text = block.partition("\n")
        if f"/{subpackage}/" in head or head.startswith("# docs/"):
            file, _, place = head.removeprefix("# ").partition(", ")
            found[file] = (place, text)
    return found


def follow(path: Path, place: str, text: str) -> None:
    """Write a file, or change one as a reader would: at its end, or imports, names, rows and constants."""
    if not path.exists():
        path.write_text(text, encoding="utf-8")
        return
    old = path.read_text(encoding="utf-8")
    if place == "at its end":
        path.write_text(f"{old}\n\n{text}", encoding="utf-8")
        return
    for line in text.splitlines():
        name = line.split(" = ")[0]
        if line.startswith(("from ", "| ")):
            first = r"^from " if line.startswith("from ") else r"^\| `fid`"
            old = re.sub(
                first, lambda match, line=line: f"{line}\n{match[0]}", old, count=1, flags=re.MULTILINE
            )
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
    (folder / "docs").mkdir()
    shutil.copy(REPOSITORY / "docs" / "evaluation.md", folder / "docs")
    return folder


def python(folder: Path, *arguments: str) -> str:
    """Run Python in a copy; return what it prints."""
    own = {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_ADDOPTS": ""}
    command, environment = [sys.executable, *arguments], {**os.environ, **own}
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, (run.stdout + run.stderr)[-3000:]
    return run.stdout


def passed(folder: Path, which: str, *tests: str) -> int:
    """Run the tests of a copy that ``which`` chooses; return how many passed."""
    found = re.search(
        r"(\d+) passed", python(folder, "-m", "pytest", "-p", "no:cacheprovider", "-k", which, *tests)
    )
    assert found
    return int(found[1])


@pytest.mark.slow
@pytest.mark.parametrize("subpackage", RECIPES)
def test_a_component_is_added_as_the_page_says(copied: Path, subpackage: str) -> None:
    most, name, *tests = RECIPES[subpackage]
    written = files_of(subpackage)
    assert 0 < len(written) <= most
    for file, (place, text) in written.items():
        follow(copied / file, place, text)
    assert passed(copied, name, *tests) > len(tests), "the contract ran over the new component"


def change(folder: Path, files: dict[str, dict[str, str]]) -> None:
    assert len(files) <= 2
    for file, changes in files.items():
        text = (folder / file).read_text(encoding="utf-8")
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        (folder / file).write_text(text, encoding="utf-8")


@pytest.mark.slow
def test_latent_gmm_gets_an_option_in_two_files(copied: Path) -> None:
    change(copied, OPTION)
    tests = "tests/test_components.py", "tests/priors/test_latent_gmm.py"
    assert passed(copied, "widening or (every_option and latent-gmm)", *tests) == 2


@pytest.mark.slow
def test_an_option_is_renamed_in_one_file_and_old_files_load(copied: Path) -> None:
    change(copied, RENAMED)
    python(copied, "-c", LOADING)
