"""Forecasts of weather that need no network.

* Climatology: what the same hour brought in training, at most 15 days earlier or later.
* Persistence: the last hour before stays as it is, one certain forecast.
* Gaussian regression: ridge regression on all of the condition, or on its last hour alone, with the
  covariance of its errors on weeks that were left out; its strength has the least such error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, cross_val_predict
from torch import Tensor

from benchmarks.studies import Row, generator, rows_of
from flowprior.data import Data
from flowprior.extensions.series.data import COLUMNS, DAY, FORECAST, STATIONS, WeatherData
from flowprior.extensions.series.metrics import coverage
from flowprior.flow import Flow
from flowprior.metrics import crps, energy_score, member_spread

MEMBERS = 20
DAYS = 15
"""Farther away in the year the weather is another."""
FOLDS = 7
STRENGTHS = (30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)
BASE = "gaussian+condot"
"""The setting beside whose values the others are kept."""


def plain_forecasts(flow: Flow, cell: Any, data: Any) -> list[Row]:
    """Scores of the forecasts without a network, once; nothing beside other cells."""
    if cell.variant.label != BASE or cell.seed != 0:
        return []
    train, test = whole(data.train), whole(data.test)
    found: list[Row] = []
    for name, forecast in FORECASTS.items():
        samples = forecast(train, test, generator(0))
        told = {"split": "test", "nfe": None, "samples": len(samples) * samples.shape[1]}
        found += rows_of(scored(samples, test.x), flow=name, seed=0, **told)
    return found


def whole(data: Data) -> WeatherData:
    """The data, which are all windows in memory.

    Raises:
        TypeError: they are others.
    """
    if not isinstance(data, WeatherData):
        raise TypeError(f"{data.name}: expected the data set weather")
    return data


def scored(samples: Tensor, truth: Tensor) -> dict[str, float]:
    """Scores of forecasts ``[n, members, 9, 24]``; of a single member its errors alone."""
    found = {"crps": crps(samples, truth), "energy_score": energy_score(samples, truth)}
    if samples.shape[1] > 1:
        found |= {f"coverage_{p}": coverage(samples, truth, p / 100) for p in (50, 90)}
        found["member_spread"] = member_spread(samples)
    return {name: float(score.mean()) for name, score in found.items()}


def climatology(train: WeatherData, test: WeatherData, chance: torch.Generator) -> Tensor:
    """Training windows of the same hour of the day and the same time of the year."""
    members = []
    for hour in test.hours:
        apart = train.hours - hour
        near = ((apart % DAY == 0) & (apart.abs() <= DAYS * DAY)).nonzero()[:, 0]
        members.append(train.x[near[torch.randint(len(near), (MEMBERS,), generator=chance)]])
    return torch.stack(members)


def persistence(train: WeatherData, test: WeatherData, chance: torch.Generator) -> Tensor:
    """The last hour, for all hours to come."""
    assert isinstance(test.cond, Tensor)
    known = test.cond[:, : len(STATIONS) * len(COLUMNS), -1].unflatten(1, (len(STATIONS), len(COLUMNS)))
    last = known[:, :, : len(FORECAST)]
    return last.flatten(1)[:, None, :, None].expand(-1, 1, -1, test.x.shape[2])


def regression(train: WeatherData, test: WeatherData, chance: torch.Generator) -> Tensor:
    """Ridge regression on all that is known of the 72 hours before."""
    return _regression(train, test, chance, lambda cond: cond.flatten(1))


def last_hour_regression(train: WeatherData, test: WeatherData, chance: torch.Generator) -> Tensor:
    """Ridge regression on the last hour alone."""
    return _regression(train, test, chance, lambda cond: cond[:, :, -1])


def _regression(
    train: WeatherData, test: WeatherData, chance: torch.Generator, read: Callable[[Tensor], Tensor]
) -> Tensor:
    assert isinstance(train.cond, Tensor)
    assert isinstance(test.cond, Tensor)
    assert train.groups is not None
    seen, asked = (read(cond).double().numpy() for cond in (train.cond, test.cond))
    mean, scale = seen.mean(0), seen.std(0)
    seen, asked = ((part - mean) / np.where(scale > 0, scale, 1.0) for part in (seen, asked))
    x = train.x.flatten(1).double().numpy()

    def errors(strength: float) -> np.ndarray:
        weeks = GroupKFold(FOLDS)
        return x - cross_val_predict(Ridge(strength), seen, x, groups=train.groups, cv=weeks)

    left = {strength: errors(strength) for strength in STRENGTHS}
    best = min(left, key=lambda strength: float(np.square(left[strength]).mean()))
    covariance = torch.from_numpy(left[best].T @ left[best] / len(x))
    loc = torch.from_numpy(Ridge(best).fit(seen, x).predict(asked))
    noise = torch.randn(len(loc), MEMBERS, loc.shape[1], generator=chance, dtype=loc.dtype)
    drawn = loc[:, None] + noise @ torch.linalg.cholesky(covariance).T
    return drawn.unflatten(2, test.x.shape[1:])


FORECASTS: dict[str, Callable[[WeatherData, WeatherData, torch.Generator], Tensor]] = {
    "climatology": climatology,
    "persistence": persistence,
    "regression": regression,
    "regression, last hour": last_hour_regression,
}
