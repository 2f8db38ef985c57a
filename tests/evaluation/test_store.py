"""The store of figures: what it gives back, when it does not, whole files, folders that cannot be written."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

from flowprior.evaluation import MetricInfo
from flowprior.evaluation.store import Entry, FigureStore

SETTINGS = {"flow": "abc", "nfe": 4, "guidance": 1.0}
FID = MetricInfo("distance", 100, "50 test examples", "lower", features="cnn128 sha256 12345678")


def filled() -> Entry:
    entry = FigureStore(None).read("euler", SETTINGS)
    entry.add({"fid": 2.5, "fid-std": 0.5}, {"fid": FID, "empty": FID})
    entry.facts |= {"nfe": 4, "seconds": 0.5}
    return entry


def test_a_figure_is_read_back(tmp_path: Path) -> None:
    store = FigureStore(tmp_path / "new")
    store.write("euler", filled())
    found = FigureStore(tmp_path / "new").read("euler", SETTINGS)
    assert found == filled()
    assert found.select(["fid", "empty", "other"]) == {"fid": 2.5, "fid-std": 0.5}
    (file,) = (tmp_path / "new").iterdir()
    assert file.name.startswith("euler-")
    assert json.loads(file.read_text())["settings"] == SETTINGS


@pytest.mark.parametrize("key", list(SETTINGS))
def test_other_settings_have_nothing(tmp_path: Path, key: str) -> None:
    store = FigureStore(tmp_path)
    store.write("euler", filled())
    assert store.read("euler", {**SETTINGS, key: 9}).figures == {}


def test_a_figure_counts_only_while_it_is_what_is_asked_for() -> None:
    entry = filled()
    assert entry.has({"fid": FID})
    assert entry.has({"fid": replace(FID, real_data_score=1.0), "empty": FID})  # the floor is no part of it
    assert not entry.has({"fid": FID, "kid": FID})
    others = {"description": "squared", "samples": 99, "reference": "x", "features": "cnn128 sha256 0"}
    for field, value in others.items():
        assert not entry.has({"fid": replace(FID, **{field: value})})


def test_a_new_figure_takes_the_place_of_the_old() -> None:
    entry = filled()
    entry.add({}, {"fid": replace(FID, samples=7)})
    assert "fid" not in entry.figures
    assert entry.metrics["fid"].samples == 7


@pytest.mark.parametrize("damage", ["figure", "nested", "downgraded"])
def test_a_changed_file_is_not_believed(tmp_path: Path, damage: str) -> None:
    store = FigureStore(tmp_path)
    store.write("euler", filled())
    (file,) = tmp_path.iterdir()
    text = {
        "figure": file.read_text().replace("2.5", "1.5"),
        "nested": "[" * 100_000,
        "downgraded": file.read_text().replace('"format": 2', '"format": 1').replace("2.5", "1.5"),
    }[damage]
    file.write_text(text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert store.read("euler", SETTINGS).figures == {}


def test_files_of_the_format_before_are_read(tmp_path: Path) -> None:
    store = FigureStore(tmp_path)
    store.write("euler", filled())
    (file,) = tmp_path.iterdir()
    content = json.loads(file.read_text())
    del content["digest"]
    file.write_text(json.dumps({**content, "format": 1}))
    assert store.read("euler", SETTINGS) == filled()


@pytest.mark.parametrize("damage", ["truncated", "format", "foreign"])
def test_a_damaged_file_is_computed_anew(tmp_path: Path, damage: str) -> None:
    store = FigureStore(tmp_path)
    store.write("euler", filled())
    (file,) = tmp_path.iterdir()
    content = json.loads(file.read_text())
    if damage == "truncated":
        file.write_text(file.read_text()[:50])
    elif damage == "foreign":
        del content["metrics"]
        file.write_text(json.dumps(content))
    else:
        file.write_text(json.dumps({**content, "format": 0}))
    if damage == "format":
        assert store.read("euler", SETTINGS).figures == {}
    else:
        with pytest.warns(RuntimeWarning, match="computed anew"):
            assert store.read("euler", SETTINGS).figures == {}
    store.write("euler", filled())
    assert store.read("euler", SETTINGS) == filled()
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_cannot_be_written_warns_once(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    store = FigureStore(blocked)
    with pytest.warns(RuntimeWarning, match="figures are not kept"):
        store.write("euler", filled())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.write("heun", filled())


def test_nothing_is_kept_without_a_folder_or_a_name(tmp_path: Path) -> None:
    FigureStore(None).write("euler", filled())
    store = FigureStore(tmp_path)
    store.write("euler", replace(filled(), settings=None))
    assert store.read("euler", None).figures == {}
    assert list(tmp_path.iterdir()) == []
