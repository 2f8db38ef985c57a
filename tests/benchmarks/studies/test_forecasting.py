"""Forecasts that need no network, on windows whose answers are known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks.studies import forecasting
from flowprior.extensions.series.data import DAY, WeatherData
from flowprior.study import Splits
from tests.benchmarks.studies.conftest import Still


@pytest.fixture
def windows(generator) -> tuple[WeatherData, WeatherData]:
    """Windows whose events repeat their last hour but for noise of 0.3, an hour apart."""
    hours = torch.arange(600) + 72
    cond = torch.randn(600, 28, 72, generator=generator)
    last = cond[:, :18, -1].unflatten(1, (3, 6))[:, :, :3].flatten(1)
    x = last[:, :, None] + 0.3 * torch.randn(600, 9, 24, generator=generator)
    parts = []
    for rows in (torch.arange(500), torch.arange(500, 600)):
        part = WeatherData(x[rows], cond[rows], name="weather")
        part.hours, part.groups = hours[rows], hours[rows] // DAY
        parts.append(part)
    return parts[0], parts[1]


def chance() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_persistence_repeats_the_last_hour_of_the_right_rows(windows):
    found = forecasting.scored(forecasting.persistence(*windows, chance()), windows[1].x)
    assert found["crps"] == pytest.approx(0.3 * (2 / torch.pi) ** 0.5, rel=0.05)
    assert "coverage_50" not in found


def test_regression_finds_the_law_and_its_spread(windows):
    found = forecasting.scored(forecasting.last_hour_regression(*windows, chance()), windows[1].x)
    assert found["crps"] == pytest.approx(0.3 / torch.pi**0.5, rel=0.15)
    assert found["coverage_50"] == pytest.approx(0.5, abs=0.05)
    assert found["coverage_90"] == pytest.approx(0.9, abs=0.05)


def test_forecasts_stand_in_one_table_with_seconds_of_their_own(windows):
    train, test = windows
    run = SimpleNamespace(
        variant=SimpleNamespace(label=forecasting.BASE), seed=0, grid=SimpleNamespace(samples=2000)
    )
    flow: Any = Still()
    rows = forecasting.plain_forecasts(flow, run, Splits(train, test))
    assert {row["flow"] for row in rows} == set(forecasting.FORECASTS)
    assert {row["samples"] for row in rows} == {2000}, "one number of samples for all rows of a table"
    assert len({row["cpu_seconds"] for row in rows}) == len(forecasting.FORECASTS)


def test_climatology_takes_the_same_hour_of_near_days(windows):
    train, test = windows
    train.x = train.hours[:, None, None].float().expand(-1, 9, 24).clone()
    found = forecasting.climatology(train, test, chance())
    assert found.shape == (100, forecasting.MEMBERS, 9, 24)
    apart = found[:, :, 0, 0] - test.hours[:, None]
    assert bool((apart % DAY == 0).all())
    assert float(apart.abs().max()) <= forecasting.DAYS * DAY
