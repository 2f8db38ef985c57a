"""What docs/results.md and the pages that give advice say is what the cells say."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.studies.results_page import (
    CLAIMS,
    MARKED,
    TARGET,
    filled,
    page,
    page_of_claims,
    template,
    told,
)
from tests.benchmarks.studies.conftest import read_stored


@pytest.fixture(scope="module")
def stored() -> dict[str, Any]:
    return told(read=read_stored)


def text_of(name: str) -> str:
    return page_of_claims(name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", CLAIMS)
def test_every_generated_sentence_of_a_page_is_what_the_generator_gives(
    name: str, stored: dict[str, Any]
) -> None:
    text = text_of(name)
    assert filled(text, stored) == text, "run python -m benchmarks.studies.results_page"


def test_the_committed_results_are_what_the_generator_gives() -> None:
    assert TARGET.read_bytes() == page(read=read_stored).encode(), (
        "run python -m benchmarks.studies.results_page"
    )


def test_every_claim_has_one_place_and_stands_there() -> None:
    placed = [block for blocks in CLAIMS.values() for block in blocks]
    assert sorted(placed) == sorted(template("claims.md.jinja").blocks)
    for name, blocks in CLAIMS.items():
        assert tuple(found[1] for found in MARKED.findall(text_of(name))) == blocks


def test_a_sentence_that_somebody_edits_is_put_right(stored: dict[str, Any]) -> None:
    text = "before\n<!-- generated: without_condition -->\na fitted source always hurts\n<!-- end -->\nafter"
    right = filled(text, stored)
    assert "On digits, sources fitted without a condition beat N(0, I)" in right
    assert right.startswith("before\n<!-- generated: without_condition -->\nOn digits")
    assert right.endswith("source alone.\n<!-- end -->\nafter")
    with pytest.raises(KeyError):
        filled("<!-- generated: nonsense -->\nx\n<!-- end -->", stored)


def test_the_advice_without_a_condition_is_what_the_table_says() -> None:
    text = text_of("findings") + text_of("choosing")
    assert "4 of 4 with a network that is not told the labels" in text
    assert "has been measured to hurt" not in text
    assert "the default has after 3,200" not in text
