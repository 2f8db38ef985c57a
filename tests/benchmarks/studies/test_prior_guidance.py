"""What the page says of guidance by the prior, from a table whose answers are known."""

from __future__ import annotations

import pandas
import pytest

from benchmarks.studies import prior_guidance
from flowprior.evaluation.result import table_row

PRIOR, FREE = "euler:prior_guidance={}", "euler"
WAYS = {  # sampler, guidance: accuracy, distance
    (FREE, 1.0): (0.80, 100.0),
    (PRIOR.format(1.25), 1.0): (0.84, 104.0),
    (PRIOR.format(2), 1.0): (0.95, 150.0),
    (FREE, 1.5): (0.82, 103.0),
    (FREE, 3.0): (0.86, 300.0),
    (PRIOR.format(1.25), 1.5): (0.87, 120.0),
}


@pytest.fixture
def table() -> pandas.DataFrame:
    rows = []
    for (sampler, guidance), (accuracy, distance) in WAYS.items():
        for seed, shift in enumerate((-0.01, 0.01)):
            common = {"flow": "default", "sampler": sampler, "guidance": guidance, "nfe": 4, "seed": seed}
            common |= {"split": "test", "samples": 100}
            rows.append(table_row("accuracy", accuracy + shift, **common))
            rows += [table_row(metric, distance + shift, **common) for metric in prior_guidance.FEATURES]
    return pandas.DataFrame(rows)


def test_ways_and_strengths_are_told_apart(table):
    found = prior_guidance.guided(table, "accuracy")[4].loc["default"]
    assert found[("none", 1.0)] == pytest.approx(0.80)
    assert found[("prior", 1.25)] == pytest.approx(0.84)
    assert found[("classifier-free", 3.0)] == pytest.approx(0.86)
    assert found[(prior_guidance.BOTH, 1.5)] == pytest.approx(0.87)


def test_a_gain_counts_where_the_distances_stay(table):
    found = prior_guidance.gains(table, "default", 4)
    assert found["prior"] == pytest.approx(0.04)
    assert found["classifier-free"] == pytest.approx(0.02)
    assert prior_guidance.most(table, "default", 4) == pytest.approx(0.06)


def test_a_strength_is_better_everywhere_or_not(table):
    assert not prior_guidance.better_everywhere(table, 1.25)
    better = table.copy()
    better.loc[better["sampler"].str.contains("1.25") & better["metric"].str.startswith("fid"), "value"] = (
        90.0
    )
    assert prior_guidance.better_everywhere(better, 1.25)


def test_the_chart_has_a_curve_of_each_way(table, tmp_path, monkeypatch):
    monkeypatch.setattr(prior_guidance, "NFES", (4,))
    prior_guidance.draw_curves(table, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 5000
