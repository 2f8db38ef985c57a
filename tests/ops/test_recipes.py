"""The recipes in csrc/README.md name the files that there are, and no others are needed."""

from __future__ import annotations

import re

from tests.markdown_blocks import REPOSITORY

README = (REPOSITORY / "csrc" / "README.md").read_text()
PARTS_OF = {"gmm_log_prob_all": "gmm_log_prob"}
IN_PYTHON = {"subspace_source": "subspace", "subspace_view": "subspace"}
"""Operators in the file of another one, besides backward passes."""


def names() -> list[str]:
    """Every operator with a schema."""
    schemas = (REPOSITORY / "csrc" / "ops.cpp").read_text()
    return re.findall(r'"(\w+)\(', schemas)


def stem(name: str) -> str:
    name = name.removesuffix("_backward")
    return PARTS_OF.get(name, name)


def cited(text: str) -> set[str]:
    """Paths from the repository's root in ``text``."""
    return set(re.findall(r"`((?:csrc|flowprior|tests|benchmarks|docs)/[^`\s]+\.\w+)`", text))


def test_every_operator_has_files_of_one_stem():
    assert names()
    for name in names():
        for folder, ending in (("csrc/cpu", "cpp"), ("csrc/cuda", "cu"), ("flowprior/ops", "py")):
            file = IN_PYTHON.get(stem(name), stem(name)) if ending == "py" else stem(name)
            assert (REPOSITORY / folder / f"{file}.{ending}").is_file(), (name, folder)


def test_the_recipes_cite_files_that_exist():
    instances = {"<op>": "gmm_sample", "<group>": "mixtures"}
    for path in cited(README):
        for placeholder, instance in instances.items():
            path = path.replace(placeholder, instance)
        assert (REPOSITORY / path).is_file(), path
