"""What a release says of itself: metadata, extras, citation, and the files that belong to it."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.resources import files

import pytest

from tests.markdown_blocks import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MODULES = {"scikit-learn": "sklearn", "pot": "ot"}
"""Dependencies whose module has another name."""
NO_RUN_TIME = {"all", "test", "docs", "benchmark"}


def test_the_extra_all_has_every_extra_of_a_run() -> None:
    extras = PROJECT["optional-dependencies"]
    (line,) = extras["all"]
    named = re.fullmatch(r"flowprior\[([\w,-]+)\]", line)
    assert named is not None, line
    assert named[1].split(",") == sorted(set(extras) - NO_RUN_TIME)


def test_the_citation_is_of_this_version_and_these_authors() -> None:
    citation = (REPOSITORY / "CITATION.cff").read_text(encoding="utf-8")
    assert f"version: {PROJECT['version']}\n" in citation
    assert [f'  - name: "{author["name"]}"' for author in PROJECT["authors"]] == re.findall(
        r"^  - name: .*$", citation, re.MULTILINE
    )
    licences = re.search(r"^license:\n((?:  - .*\n)+)", citation, re.MULTILINE)
    assert licences is not None
    assert licences[1].split()[1::2] == PROJECT["license"].split(" AND ")
    assert set(PROJECT["keywords"]) == set(re.findall(r"^  - ([a-z ]+)$", citation, re.MULTILINE))


def test_nothing_invents_an_address() -> None:
    assert PROJECT["authors"] == [{"name": "flowprior contributors"}]
    assert "urls" not in PROJECT
    for name in ("SECURITY.md", "CONTRIBUTING.md", "CITATION.cff"):
        text = (REPOSITORY / name).read_text(encoding="utf-8")
        assert re.findall(r"https?://|\S+@\S+\.\w+", text) == [], name


def test_links_of_the_root_files_lead_to_files() -> None:
    for name in ("SECURITY.md", "CONTRIBUTING.md"):
        links = re.findall(r"\]\(([^)#]+)\)", (REPOSITORY / name).read_text(encoding="utf-8"))
        assert [link for link in links if not (REPOSITORY / link).exists()] == [], name


def test_the_package_is_typed() -> None:
    assert files("flowprior").joinpath("py.typed").is_file()
    assert "Typing :: Typed" in PROJECT["classifiers"]


def test_the_classifiers_begin_with_the_python_that_is_required() -> None:
    minors = [int(found[1]) for line in PROJECT["classifiers"] if (found := re.search(r":: 3\.(\d+)$", line))]
    assert minors == list(range(minors[0], minors[0] + len(minors)))
    assert PROJECT["requires-python"] == f">=3.{minors[0]}"


@pytest.mark.parametrize(
    ("line", "allowed"),
    [
        ("import flowprior", set()),
        (
            "from flowprior import Coupling, Flow, Prior, train",
            {"torch", "numpy", "filelock", "pydantic", "safetensors", "tomli_w", "tqdm"},
        ),
    ],
)
def test_what_an_import_loads_of_the_dependencies(line: str, allowed: set[str]) -> None:
    names = {re.match(r"[\w-]+", each)[0] for each in PROJECT["dependencies"]}  # type: ignore[index]
    modules = {MODULES.get(name, name.replace("-", "_")) for name in names}
    program = f"import sys; {line}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert modules & set(run.stdout.split()) <= allowed
