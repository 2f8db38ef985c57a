"""Reading numbers and conditions from the command line."""

from __future__ import annotations

import pytest
import torch

from flowprior.cli.options import parse_conditions, parse_integers
from flowprior.conditions import Condition
from flowprior.errors import OptionError

LABELS, EMBEDDINGS = Condition("labels", 4), Condition("embeddings", 2)


def test_integers() -> None:
    assert parse_integers("1, 2,15", "--nfe") == [1, 2, 15]
    for text in ("", "1,", "1.5", "x"):
        with pytest.raises(OptionError, match="--nfe="):
            parse_integers(text, "--nfe")


@pytest.mark.parametrize(
    ("text", "count", "expected"),
    [
        ("3", None, [3] * 64),
        ("0,2", None, [0] * 8 + [2] * 8),
        ("2,0", 1, [2, 0]),
        ("all", 2, [0, 0, 1, 1, 2, 2, 3, 3]),
        (None, 1, [0, 1, 2, 3]),
    ],
)
def test_labels_in_runs(text: str | None, count: int | None, expected: list[int]) -> None:
    found = parse_conditions(text, LABELS, count)
    assert found is not None
    assert found.dtype == torch.long
    assert found.tolist() == expected


def test_one_embedding() -> None:
    found = parse_conditions("0.5,-2", EMBEDDINGS, 3)
    assert found is not None
    assert found.tolist() == [[0.5, -2.0]] * 3
    for text in (None, "all", "1", "1,2,3", "nan,1"):
        with pytest.raises(OptionError, match="write its 2 numbers"):
            parse_conditions(text, EMBEDDINGS, 1)


def test_no_condition() -> None:
    assert parse_conditions(None, Condition(), 5) is None
    with pytest.raises(OptionError, match="leave it out"):
        parse_conditions("1", Condition(), 5)
