"""The store of values: what it gives back, when it does not, whole files, folders that cannot be written."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flowprior.evaluation.store import Entry, Store
from flowprior.metrics import MetricInfo
from flowprior.storage import signed

SETTINGS = {"flow": "abc", "nfe": 4, "guidance": 1.0}
FID = MetricInfo("distance", 100, "50 test examples", "lower", features="cnn128 sha256 12345678")


def filled(store: Store, path: Path | None = None) -> Entry:
    """An entry with a value, its deviation, a metric that came out empty, and facts."""
    entry = Entry(SETTINGS, path or store.read("euler", SETTINGS).path)
    entry.add({"fid": 2.5, "fid-std": 0.5}, {"fid": FID, "empty": FID})
    entry.facts |= {"nfe": 4, "seconds": 0.5}
    return entry


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with one filled entry in a new folder."""
    found = Store(tmp_path / "new")
    found.write(filled(found))
    return found


def the_file(store: Store) -> Path:
    assert store.folder is not None
    (file,) = store.folder.iterdir()
    return file


def test_a_value_is_read_back(store: Store) -> None:
    found = Store(store.folder).read("euler", SETTINGS)
    assert found == filled(store)
    rows = list(found.rows({"fid": FID, "empty": FID, "other": FID}, seed=3))
    assert [(row["metric"], row["value"]) for row in rows] == [("fid", 2.5), ("fid-std", 0.5)]
    assert (rows[0]["seed"], rows[0]["features"]) == (3, FID.features)
    assert the_file(store).name.startswith("euler-")
    assert json.loads(the_file(store).read_text())["settings"] == SETTINGS


@pytest.mark.parametrize("key", list(SETTINGS))
def test_other_settings_have_nothing(store: Store, key: str) -> None:
    assert store.read("euler", {**SETTINGS, key: 9}).values == {}


def test_a_value_counts_only_while_it_is_what_is_asked_for() -> None:
    entry = filled(Store(None))
    assert entry.has({"fid": FID, "empty": FID})
    assert not entry.has({"fid": FID, "kid": FID})
    others = {"description": "squared", "samples": 99, "reference": "x", "features": "cnn128 sha256 0"}
    for field, value in others.items():
        assert not entry.has({"fid": replace(FID, **{field: value})})


def test_a_new_value_takes_the_place_of_the_old() -> None:
    entry = filled(Store(None))
    entry.add({}, {"fid": replace(FID, samples=7)})
    assert "fid" not in entry.values
    assert entry.metrics["fid"].samples == 7


def without(content: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key not in keys}


@pytest.mark.parametrize("damage", ["value", "nested", "downgraded", "truncated", "format", "foreign"])
def test_a_damaged_file_is_computed_anew(store: Store, damage: str) -> None:
    file, text = the_file(store), the_file(store).read_text()
    content = json.loads(text)
    file.write_text(
        {
            "value": text.replace("2.5", "1.5"),
            "nested": "[" * 100_000,
            "downgraded": json.dumps(without(content, "digest") | {"format": 1}),
            "truncated": text[:50],
            "format": json.dumps(content | {"format": 0}),
            "foreign": json.dumps(signed(without(content, "metrics", "digest"))),
        }[damage]
    )
    with pytest.warns(RuntimeWarning, match="computed anew"):
        assert store.read("euler", SETTINGS).values == {}
    store.write(filled(store, file))
    assert store.read("euler", SETTINGS) == filled(store)
    assert the_file(store) == file


def test_a_folder_that_cannot_be_written_warns_once(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    store = Store(blocked)
    with pytest.warns(RuntimeWarning, match="values are not kept"):
        store.write(filled(store))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.write(filled(store))


def test_nothing_is_kept_without_a_folder_or_a_name(tmp_path: Path) -> None:
    nowhere = Store(None)
    nowhere.write(filled(nowhere))
    store = Store(tmp_path)
    unnamed = store.read("euler", None)
    unnamed.add({"fid": 2.5}, {"fid": FID})
    store.write(unnamed)
    assert store.read("euler", None).values == {}
    assert list(tmp_path.iterdir()) == []
