"""What one evaluation is worth, from tables whose answers are known."""

from __future__ import annotations

import pandas
import pytest

from benchmarks.studies import lead, one_evaluation
from flowprior.evaluation.result import table_row


def table() -> pandas.DataFrame:
    """The default best at 4 evaluations with 10, the average velocity at 1 with 12; two seeds about these."""
    values = {lead.OURS: {1: 40.0, 4: 10.0, 30: 11.0}, one_evaluation.AVERAGE: {1: 12.0, 4: 9.0}}
    rows = []
    for flow, found in values.items():
        for nfe, value in found.items():
            for seed, shift in enumerate((-0.5, 0.5)):
                common = {"flow": flow, "nfe": nfe, "seed": seed, "sampler": lead.GRID}
                rows.append(table_row("fid-lite0", value + shift, split="test", **common))
                rows.append(table_row("fid-lite0", value + shift, split="validation", **common))
    return pandas.DataFrame(rows)


def test_the_default_of_the_same_seeds_comes_from_the_other_study() -> None:
    rows = table()
    average = rows[(rows["flow"] == one_evaluation.AVERAGE) & (rows["seed"] == 1)]
    found = one_evaluation.beside(average, rows)
    assert set(found["seed"]) == {1}
    assert one_evaluation.over_best(found, "fid-lite0") == pytest.approx(12.5 / 10.5)


def test_one_evaluation_is_compared_with_the_best_and_with_the_same() -> None:
    assert one_evaluation.over_best(table(), "fid-lite0") == pytest.approx(1.2)
    assert one_evaluation.over_same(table(), "fid-lite0") == pytest.approx(0.3)
    assert one_evaluation.over_best(table(), "fid-lite0", nfe=4) == pytest.approx(0.9)
