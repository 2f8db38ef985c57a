"""How soon a design is as good as another one ends: of made-up curves whose answer is known."""

from __future__ import annotations

import math

import pandas
import pytest

from benchmarks.studies import convergence
from benchmarks.studies.convergence import NFES, OURS, QUALITY
from flowprior.evaluation.result import table_row

CURVES = {
    OURS: {10: 8.0, 20: 4.0, 40: 2.0},
    "slow": {10: 30.0, 20: 9.0, 40: 5.0},
    "best": {10: 3, 20: 2, 40: 1},
}
STEP = {OURS: 2.0, "slow": 1.0, "best": 1.0}


def table() -> pandas.DataFrame:
    rows = []
    for flow, curve in CURVES.items():
        for step, value in curve.items():
            for nfe in NFES:
                told = {"flow": flow, "seed": 0, "step": step, "nfe": nfe}
                rows += [table_row(metric, value, split="test", **told) for metric in QUALITY]
                rows.append(table_row("seconds", float(nfe), **told))
        rows.append(
            table_row("seconds", 100.0, flow=flow, seed=0, nfe=4)
        )  # of other samples than the curve's
    return pandas.DataFrame(rows)


def runs() -> pandas.DataFrame:
    rows = [{"label": flow, "prior_fit_seconds": None, "seconds_per_step": STEP[flow]} for flow in CURVES]
    rows[0]["prior_fit_seconds"] = 6.0
    return pandas.DataFrame(rows)


def test_seconds_are_those_of_fit_steps_and_drawing():
    cost = convergence.seconds(table(), runs())
    assert convergence.spent(cost, OURS, 20, 4) == 6 + 20 * 2 + 4
    assert convergence.spent(cost, "slow", 40, 15) == 40 + 15


def test_the_first_step_that_is_as_good_as_the_others_end_counts():
    found = convergence.reached(table(), runs(), QUALITY[0])
    assert found.loc[("slow", 4), ["end", "step", "share"]].tolist() == [5.0, 20, 0.5]
    assert found.loc[("slow", 4), "seconds"] == pytest.approx(50 / 44)
    assert found.loc[("slow", 15), "seconds"] == pytest.approx(61 / 55)
    assert found.loc[("best", 4), ["step", "share", "seconds"]].tolist() == [math.inf] * 3
    assert OURS not in found.index.get_level_values(0)


def test_the_chart_is_drawn(tmp_path):
    convergence.draw_curves(table(), runs(), tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 5000
