"""Forecasts that need no network, on windows whose answers are known; the Gaussian regression."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.preprocessing import StandardScaler

from benchmarks.studies import everything, forecasting, regression
from benchmarks.studies.regression import FOLDS, STRENGTHS, fit_regression
from flowprior.data import TensorData
from flowprior.extensions.series.data import DAY, WeatherData
from flowprior.study import Splits
from tests.benchmarks.studies.conftest import Still

PARTS = torch.arange(500), torch.arange(500, 600)


@pytest.fixture
def windows(generator) -> tuple[WeatherData, WeatherData]:
    """Windows whose events repeat their last hour but for noise of 0.3, an hour apart."""
    cond = torch.randn(600, 28, 12, generator=generator)
    last = cond[:, :18, -1].unflatten(1, (3, 6))[:, :, :3].flatten(1)
    x = last[:, :, None] + 0.3 * torch.randn(600, 9, 24, generator=generator)
    first, last = (WeatherData(x[rows], cond[rows], name="weather") for rows in PARTS)
    for part, rows in zip((first, last), PARTS, strict=True):
        part.hours, part.groups = rows + 72, (rows + 72) // DAY
    return first, last


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
    run = SimpleNamespace(
        variant=SimpleNamespace(label=forecasting.BASE), seed=0, grid=SimpleNamespace(samples=2000)
    )
    flow: Any = Still()
    rows = forecasting.plain_forecasts(flow, run, Splits(*windows))
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


# -- the regression -------------------------------------------------------------------------------


def linear(rows: int, signal: float, generator: torch.Generator) -> TensorData:
    """Data samples that are linear in four numbers of five, of other scales, and noise of deviation 1."""
    cond = torch.randn(rows, 5, generator=generator) * torch.tensor([1.0, 3.0, 0.2, 1.0, 0.0]) + 2
    slope = signal * torch.randn(5, 3, generator=generator)
    return TensorData(cond @ slope + torch.randn(rows, 3, generator=generator), cond, name="linear")


def arrays(data: TensorData) -> tuple[np.ndarray, np.ndarray]:
    """Standardised conditions and data samples."""
    x, cond = everything(data)
    return StandardScaler().fit_transform(cond.double().numpy()), x.double().numpy()


def fitted(data: TensorData, *, diagonal: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The regression's predictions of the data, and the covariance of its errors."""
    x, cond = everything(data)
    found = fit_regression(cond, x, data.groups, diagonal=diagonal)
    return (regression.with_one(cond) @ found.weights).numpy(), (found.factor @ found.factor.T).numpy()


def test_mean_and_covariance_are_those_of_ridge_regression_with_whole_groups_left_out(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(regression, "STRENGTHS", (50.0,))
    data = linear(140, 1.0, generator)
    data.groups = torch.arange(140) // 10 + 100
    seen, x = arrays(data)
    predicted, covariance = fitted(data)
    np.testing.assert_allclose(predicted, Ridge(50.0).fit(seen, x).predict(seen), atol=1e-8)
    folds = PredefinedSplit(((data.groups - 100) % FOLDS).numpy())
    errors = x - cross_val_predict(Ridge(50.0), seen, x, cv=folds)
    np.testing.assert_allclose(covariance, errors.T @ errors / 140, atol=1e-8)
    diagonal = fitted(data, diagonal=True)[1]
    np.testing.assert_allclose(diagonal, np.diag(np.square(errors).mean(0)), atol=1e-8)


@pytest.mark.parametrize("signal", [0.0, 0.1, 100.0])
def test_the_strength_is_that_of_the_least_error_on_rows_that_are_left_out(
    signal: float, generator: torch.Generator
) -> None:
    data = linear(700, signal, generator)
    seen, x = arrays(data)
    folds = PredefinedSplit(np.arange(700) % FOLDS)
    found = {s: np.square(x - cross_val_predict(Ridge(s), seen, x, cv=folds)).sum() for s in STRENGTHS}
    best = Ridge(min(found, key=found.__getitem__)).fit(seen, x).predict(seen)
    np.testing.assert_allclose(fitted(data)[0], best, atol=1e-6)
