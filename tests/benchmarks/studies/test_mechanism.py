"""What goes with quality: the read-off of a made-up table whose answer is known."""

from __future__ import annotations

import pandas
import pytest

from benchmarks.studies import mechanism
from benchmarks.studies.mechanism import COST, CURVATURE, ERROR, NFES, QUALITY
from flowprior.evaluation.result import table_row


def rows() -> pandas.DataFrame:
    """Three settings, two seeds: quality follows curvature exactly, and the cost not at all."""
    found = []
    for flow, cost, bend in (("a", 3.0, 1.0), ("b", 1.0, 2.0), ("c", 2.0, 4.0)):
        for seed in (0, 1):
            told = {"flow": flow, "seed": seed}
            found.append(table_row(COST, cost + seed, split="training", **told))
            found.append(table_row(CURVATURE, bend + seed, split="test", **told))
            for nfe in NFES:
                values = {ERROR: bend / nfe, QUALITY[0]: 10 * bend + seed, QUALITY[1]: -cost + seed}
                found += [table_row(m, v, nfe=nfe, split="test", **told) for m, v in values.items()]
    return pandas.DataFrame(found)


def test_means_over_seeds_stand_side_by_side():
    found = mechanism.measured(rows())
    assert list(found.index) == ["a", "b", "c"]
    assert found[(COST, 0)].tolist() == [3.5, 1.5, 2.5]
    assert found[(CURVATURE, 0)].tolist() == [1.5, 2.5, 4.5]
    assert found[(ERROR, 4)].tolist() == pytest.approx([0.25, 0.5, 1.0])
    assert found[(QUALITY[0], 15)].tolist() == [10.5, 20.5, 40.5]


def test_the_order_of_quality_is_that_of_its_cause():
    agreed = mechanism.agreement(mechanism.measured(rows()))
    for nfe in NFES:
        assert agreed.loc[(QUALITY[0], nfe), [CURVATURE, ERROR]].tolist() == pytest.approx([1, 1])
        assert agreed.loc[(QUALITY[0], nfe), COST] == pytest.approx(-0.5)
        assert agreed.loc[(QUALITY[1], nfe), COST] == pytest.approx(-1)
