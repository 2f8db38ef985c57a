"""What samplers that take the linear part in closed form are worth, from tables whose answers are known."""

from __future__ import annotations

import pandas
import pytest

from benchmarks.studies import lead, restoration, restoration_steps
from benchmarks.studies.alike import UnlikeStudies
from benchmarks.studies.tables import BASE
from flowprior.evaluation.result import table_row

PLAIN, EXACT = "euler", "exponential"


def rows(flow: str, sampler: str, values: dict[int, float], metric: str, split: str = "test") -> list[dict]:
    """One row for each number of evaluations, of each of two seeds about the value."""
    return [
        table_row(metric, value + shift, split=split, flow=flow, nfe=nfe, seed=seed, sampler=sampler)
        for nfe, value in values.items()
        for seed, shift in enumerate((-0.5, 0.5))
    ]


def table(rows_of: list[dict]) -> pandas.DataFrame:
    return pandas.DataFrame(rows_of).assign(label=lambda found: found["flow"])


def base() -> pandas.DataFrame:
    """N(0, I) best at 30 evaluations, with 10 by CRPS and 20 by distance; the design at 1 and 4 by Euler."""
    found = []
    for split in ("test", lead.VALIDATION):
        found += rows(BASE, PLAIN, {1: 16.0, 4: 12.0, 30: 10.0}, "crps", split)
        found += rows(BASE, PLAIN, {1: 40.0, 4: 25.0, 30: 20.0}, "fid-lite0", split)
        found += rows(restoration.OURS, PLAIN, {1: 17.0, 4: 11.0}, "crps", split)
        found += rows(restoration.OURS, PLAIN, {1: 30.0, 4: 18.0}, "fid-lite0", split)
    return table(found)


def steps() -> pandas.DataFrame:
    """Exact steps have the better CRPS and the worse distance, but on the validation split."""
    found = []
    for split in ("test", lead.VALIDATION):
        found += rows(restoration.OURS, PLAIN, {1: 17.0, 4: 11.0}, "crps", split)
        found += rows(restoration.OURS, EXACT, {1: 15.0, 4: 9.0}, "crps", split)
    found += rows(restoration.OURS, PLAIN, {1: 30.0, 4: 18.0}, "fid-lite0")
    found += rows(restoration.OURS, EXACT, {1: 50.0, 4: 22.0}, "fid-lite0")
    found += rows(restoration.OURS, PLAIN, {1: 30.0, 4: 23.0}, "fid-lite0", lead.VALIDATION)
    found += rows(restoration.OURS, EXACT, {1: 50.0, 4: 21.0}, "fid-lite0", lead.VALIDATION)
    return table(found)


METRICS = ["fid-lite0", "crps"]


def test_each_sampler_is_held_against_the_baselines_best_at_any_number() -> None:
    found = restoration_steps.over_least(steps(), base(), METRICS)
    assert found.loc[PLAIN].to_dict() == pytest.approx({"fid-lite0": 0.9, "crps": 1.1})
    assert found.loc[EXACT].to_dict() == pytest.approx({"fid-lite0": 1.1, "crps": 0.9})


def test_the_validation_split_chooses_and_the_test_split_is_read_off() -> None:
    found = restoration_steps.chosen(steps(), base(), ["fid-lite0"])
    assert found["sampler"].to_dict() == {"fid-lite0": EXACT}
    assert found.loc["fid-lite0", "fid-lite0"] == pytest.approx(1.1)


def test_the_baseline_is_that_of_the_same_seeds() -> None:
    found = restoration_steps.baseline(steps().query("seed == 0"), base(), "crps")
    assert found.to_dict() == pytest.approx({1: 15.5, 4: 11.5, 30: 9.5})


def test_a_design_of_another_training_is_not_held_against_the_baseline() -> None:
    with pytest.raises(UnlikeStudies, match="batch_size"):
        restoration_steps.over_least(steps().assign(batch_size=32), base().assign(batch_size=64), METRICS)
