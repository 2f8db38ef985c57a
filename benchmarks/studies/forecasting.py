"""Forecasts of weather that need no network.

    values = "benchmarks.studies.forecasting:plain_forecasts"

* Climatology: what the same hour brought in training, at most 15 days earlier or later.
* Persistence: the last hour before stays as it is, one certain forecast.
* Gaussian regression: ridge regression on all of the condition, or on its last hour alone, with the
  covariance of its errors on weeks that were left out (:mod:`benchmarks.studies.regression`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.studies import Row, everything, generator, rows_of
from benchmarks.studies.regression import fit_regression
from flowprior.data import Data
from flowprior.extensions.series.data import BEFORE, COLUMNS, DAY, FORECAST, STATIONS
from flowprior.extensions.series.metrics import coverage
from flowprior.flow import Flow
from flowprior.metrics import crps, energy_score, member_spread
from flowprior.streams.data import Subset

MEMBERS = 20
DAYS = 15
"""Farther away in the year the weather is another."""
BASE = "gaussian+condot"
"""The setting beside whose values the others are kept."""


def plain_forecasts(flow: Flow, run: Any, data: Any) -> list[Row]:
    """Return the scores of the forecasts without a network, once; nothing beside other runs."""
    if run.variant.label != BASE or run.seed != 0:
        return []
    truth, _ = everything(data.test)
    found: list[Row] = []
    for name, forecast in FORECASTS.items():
        begun = time.process_time()
        samples = forecast(data.train, data.test, generator(0))
        told = {"split": "test", "samples": run.grid.samples, "seed": 0}
        spent = time.process_time() - begun  # the run that they are kept beside has seconds of its own
        found += rows_of(scored(samples, truth), flow=name, cpu_seconds=spent, **told)
    return found


def hours(data: Any) -> Tensor:
    """Return the first hour that is forecast, of each window of the data set weather or of a part of it."""
    return hours(data.data)[data.indices] if isinstance(data, Subset) else data.hours


def scored(samples: Tensor, truth: Tensor) -> dict[str, float]:
    """Scores of forecasts ``[n, members, 9, 24]``; of a single member its errors alone."""
    found = {"crps": crps(samples, truth), "energy_score": energy_score(samples, truth)}
    if samples.shape[1] > 1:
        found |= {f"coverage_{p}": coverage(samples, truth, p / 100) for p in (50, 90)}
        found["member_spread"] = member_spread(samples)
    return {name: float(score.mean()) for name, score in found.items()}


def climatology(train: Data, test: Data, chance: torch.Generator) -> Tensor:
    """Training windows of the same hour of the day and the same time of the year."""
    x, known = everything(train)[0], hours(train)
    members = []
    for hour in hours(test):
        apart = known - hour
        near = ((apart % DAY == 0) & (apart.abs() <= DAYS * DAY)).nonzero()[:, 0]
        members.append(x[near[torch.randint(len(near), (MEMBERS,), generator=chance)]])
    return torch.stack(members)


def persistence(train: Data, test: Data, chance: torch.Generator) -> Tensor:
    """The last hour, for all hours to come."""
    x, cond = everything(test)
    known = cond[:, : len(STATIONS) * len(COLUMNS), -1].unflatten(1, (len(STATIONS), len(COLUMNS)))
    last = known[:, :, : len(FORECAST)]
    return last.flatten(1)[:, None, :, None].expand(-1, 1, -1, x.shape[2])


def last_hour_regression(train: Data, test: Data, chance: torch.Generator) -> Tensor:
    """Ridge regression on the last hour alone."""
    return regression(train, test, chance, 1)


def regression(train: Data, test: Data, chance: torch.Generator, last: int = BEFORE) -> Tensor:
    """Ridge regression on all that is known of the ``last`` hours before."""
    (x, seen), (truth, asked) = everything(train), everything(test)
    fitted = fit_regression(seen[:, :, -last:].flatten(1), x.flatten(1), train.groups)
    drawn = fitted.sample(asked[:, :, -last:].flatten(1).repeat_interleave(MEMBERS, 0), chance)
    return drawn.view(len(truth), MEMBERS, *truth.shape[1:])


FORECASTS: dict[str, Callable[[Data, Data, torch.Generator], Tensor]] = {
    "climatology": climatology,
    "persistence": persistence,
    "regression": regression,
    "regression, last hour": last_hour_regression,
}
