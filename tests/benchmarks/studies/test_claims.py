"""What docs/choosing.md and docs/results.md say is what the cells say."""

from __future__ import annotations

import pytest

from benchmarks.studies.report.__main__ import TARGET, WITH_CLAIMS, page
from benchmarks.studies.report.claims import CLAIMS, MARKED, filled, without_condition


def test_every_generated_sentence_of_the_page_is_what_the_generator_gives() -> None:
    text = WITH_CLAIMS.read_text(encoding="utf-8")
    assert filled(text) == text, "run python -m benchmarks.studies.report"


def test_the_committed_results_are_what_the_generator_gives() -> None:
    assert TARGET.read_text(encoding="utf-8") == page(), "run python -m benchmarks.studies.report"


def test_every_claim_has_its_place() -> None:
    named = [found[1] for found in MARKED.findall(WITH_CLAIMS.read_text(encoding="utf-8"))]
    assert sorted(named) == sorted(CLAIMS)


def test_a_sentence_that_somebody_edits_is_put_right() -> None:
    text = "before\n<!-- generated: without_condition -->\na fitted source always hurts\n<!-- end -->\nafter"
    assert filled(text) == text.replace("a fitted source always hurts", without_condition())
    with pytest.raises(KeyError):
        filled("<!-- generated: nonsense -->\nx\n<!-- end -->")


def test_the_advice_without_a_condition_is_what_the_table_says() -> None:
    text = WITH_CLAIMS.read_text(encoding="utf-8")
    assert "4 of 4 with a network that is not told the labels" in text
    assert "has been measured to hurt" not in text
    assert "the default has after 3,200" not in text
