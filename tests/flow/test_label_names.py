"""Labels by their names and numbers."""

from __future__ import annotations

import pytest

from flowprior.conditions import Condition
from flowprior.errors import InputError
from flowprior.flow.readers import labels_of


def labels(words: list[str], names: list[str]) -> list[int]:
    return labels_of(words, Condition("labels", len(names)), names, "sample").tolist()


def test_names_and_numbers_are_labels() -> None:
    assert labels(["NK cell", "B cell", "1"], ["B cell", "NK cell"]) == [1, 0, 1]


def test_where_names_are_numbers_a_word_is_a_name_alone() -> None:
    """Clusters 0, 1, 3 and 4: the word 3 is the third cluster, and there is no cluster 2 to draw."""
    assert labels(["3", "0"], ["0", "1", "3", "4"]) == [2, 0]
    with pytest.raises(InputError, match=r"no label is named '2'.* known: 0, 1, 3, 4$"):
        labels(["2"], ["0", "1", "3", "4"])


def test_a_name_of_two_labels_is_told_with_the_number_of_the_first() -> None:
    with pytest.raises(
        InputError, match="2 labels are named 'crane'; give their numbers, of which the first is 1"
    ):
        labels(["crane"], ["owl", "crane", "crane"])
    assert labels(["2"], ["owl", "crane", "crane"]) == [2]
