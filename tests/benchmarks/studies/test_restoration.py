"""What the page says of restorations, from a table whose answers are known."""

from __future__ import annotations

import pandas
import pytest

from benchmarks.studies import restoration
from benchmarks.studies.tables import BASE
from flowprior.evaluation.result import table_row

SAMPLERS = ("euler", "euler:grid=last,at=0.7")


def table(better_at: dict[int, float]) -> pandas.DataFrame:
    """Values of both settings, one seed: the baseline is at 10 and 8, ours at ``better_at`` of it."""
    rows = []
    for metric in restoration.JUDGED:
        for nfe, base in {1: 10.0, 4: 8.0}.items():
            for number, sampler in enumerate(SAMPLERS):
                for split in ("test", "validation") if metric.startswith("fid") else ("test",):
                    common = {"sampler": sampler, "nfe": nfe, "seed": 0, "split": split}
                    value = base + number * (1 if nfe == 1 else -1)  # the second grid is better at 4 alone
                    rows.append(table_row(metric, value, flow=BASE, **common))
                    rows.append(table_row(metric, value * better_at[nfe], flow=restoration.OURS, **common))
    return pandas.DataFrame(rows)


def test_distances_stand_at_the_grid_that_the_validation_split_prefers_and_scores_at_equal_steps():
    found = table({1: 0.5, 4: 0.5})
    assert restoration.values(found, "fid-lite0").loc[BASE].tolist() == [10.0, 7.0]
    assert restoration.values(found, "crps").loc[BASE].tolist() == [10.0, 8.0]


def test_the_design_at_four_is_held_against_the_best_of_the_baseline():
    found = restoration.against_best(table({1: 0.5, 4: 0.9}))
    assert found.tolist() == pytest.approx([0.9, 0.9, 0.9])
    assert list(found.index) == list(restoration.JUDGED)


def test_where_the_baseline_is_ahead_is_named():
    assert restoration.behind(table({1: 0.5, 4: 0.9})) == []
    assert restoration.behind(table({1: 1.1, 4: 0.9})) == [f"{metric} at 1" for metric in restoration.JUDGED]
