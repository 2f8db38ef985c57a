"""Values in a few words, and tables that no text can break."""

import torch
from torch import nn

from flowprior.display.shown import (
    MOST_ROWS,
    Shown,
    Table,
    counted,
    html_of,
    markdown_table,
    shape_of,
    short,
    size_of,
)


def test_a_long_text_is_cut_and_a_tensor_is_its_shape() -> None:
    assert short("a" * 500) == short("a" * 500)[:70]
    assert short(torch.zeros(2, 3)) == "Tensor [2, 3]"
    assert short(nn.Linear(2, 3)) == "<Linear>"
    assert short({"a": torch.zeros(9)}) == "{'a': Tensor [9]}"
    assert short("two\nlines") == r"'two\nlines'"


def test_counts_shapes_sizes_and_times_read_as_a_person_writes_them() -> None:
    assert counted(1, "label") == "1 label"
    assert counted(1437, "label") == "1,437 labels"
    assert shape_of(torch.Size([1, 8])) == "[1, 8]"
    assert size_of(nn.Linear(2, 3)) == "9 parameters"
    assert size_of(len) == ""


def test_texts_are_escaped_in_a_table_and_its_heading() -> None:
    shown = html_of("<b>", Table(("<i>",), [["<script>alert('x')</script>"]]))
    assert "<script>" not in shown
    assert "<b>" not in shown
    assert "&lt;script&gt;" in shown


def test_a_table_sets_no_colour_and_holds_only_so_many_rows() -> None:
    shown = html_of("many", Table(("n",), [[number] for number in range(MOST_ROWS + 5)]))
    assert "color" not in shown
    assert "background" not in shown
    assert shown.count("<tr>") == MOST_ROWS + 1
    assert "5 more rows" in shown


def test_a_result_is_a_heading_and_lines_at_a_prompt() -> None:
    class Two(Shown):
        def heading(self) -> str:
            return "Two of them"

        def lines(self) -> list[str]:
            return ["one", "another"]

    assert repr(Two()) == "Two of them\n  one\n  another"
    assert Two()._repr_html_() == "<div><p>Two of them</p></div>"


def test_a_place_without_a_value_has_a_dash_in_a_table_of_markdown() -> None:
    assert markdown_table(["a"], [["b"], [None]]).splitlines() == ["| a |", "| --- |", "| b |", "| – |"]
