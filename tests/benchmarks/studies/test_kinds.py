"""A kind of prior stands at the pairing that validation prefers, whatever the test split would say."""

from __future__ import annotations

import pandas

from benchmarks.studies import kinds
from benchmarks.studies.kinds import QUALITY
from flowprior.evaluation.result import table_row

VALUES = {  # setting -> (validation, test) at 1 and at 4 evaluations
    "a+condot": ((1.0, 9.0), (5.0, 2.0)),
    "a+ot": ((2.0, 1.0), (4.0, 3.0)),
    "b, low-rank+posterior": ((7.0, 7.0), (6.0, 6.0)),
}


def table() -> pandas.DataFrame:
    rows = []
    for flow, places in VALUES.items():
        for nfe, (validation, test) in zip((1, 4), places, strict=True):
            told = {"flow": flow, "seed": 0, "nfe": nfe}
            rows.append(table_row(QUALITY[0], validation, split="validation", **told))
            rows.append(table_row(QUALITY[0], test, split="test", **told))
    return pandas.DataFrame(rows)


def test_the_validation_split_chooses_and_the_test_split_tells():
    assert kinds.chosen(table()).to_numpy().tolist() == [
        ["a+condot", "a+ot"],
        ["b, low-rank+posterior"] * 2,
    ]
    found = kinds.at_own_pairing(table(), QUALITY[0])
    assert list(found.index) == ["a", "b, low-rank"]
    assert found[1].tolist() == [9.0, 7.0]
    assert found[4].tolist() == [3.0, 6.0]
    assert kinds.leaders(dict.fromkeys(QUALITY, found)).startswith(
        f"Best kind: by {QUALITY[0]} b, low-rank at 1, a at 4; by {QUALITY[1]} "
    )
