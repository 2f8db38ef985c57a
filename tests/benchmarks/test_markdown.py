"""Markdown tables."""

from __future__ import annotations

from benchmarks.markdown import markdown_table


def test_a_place_without_a_value_has_a_dash() -> None:
    assert markdown_table(["a"], [["b"], [None]]).splitlines() == ["| a |", "| --- |", "| b |", "| – |"]
