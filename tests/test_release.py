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


def test_the_extra_all_has_every_extra_of_a_run() -> None:
    extras = PROJECT["optional-dependencies"]
    (line,) = extras["all"]
    named = re.fullmatch(r"flowprior\[([\w,-]+)\]", line)
    assert named is not None, line
    assert named[1].split(",") == sorted(set(extras) - {"all", "test", "docs", "benchmark"})


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


@pytest.mark.parametrize("name", ["SECURITY.md", "CONTRIBUTING.md", "CITATION.cff"])
def test_nothing_invents_an_address_and_links_lead_to_files(name: str) -> None:
    assert (PROJECT["authors"], "urls" in PROJECT) == ([{"name": "flowprior contributors"}], False)
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    assert re.findall(r"https?://|\S+@\S+\.\w+", text) == []
    links = re.findall(r"\]\(([^)#]+)\)", text)
    assert [link for link in links if not (REPOSITORY / link).exists()] == []


def test_the_classifiers_begin_with_the_python_that_is_required() -> None:
    minors = [int(minor) for minor in re.findall(r":: 3\.(\d+)$", "\n".join(PROJECT["classifiers"]), re.M)]
    assert minors == list(range(minors[0], minors[0] + len(minors)))
    assert PROJECT["requires-python"] == f">=3.{minors[0]}"
    assert "Typing :: Typed" in PROJECT["classifiers"]
    assert files("flowprior").joinpath("py.typed").is_file()


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
    others = {"scikit-learn": "sklearn", "pot": "ot"}
    modules = {others.get(name, name.replace("-", "_")) for name in names}
    program = f"import sys; {line}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert modules & set(run.stdout.split()) <= allowed
