"""The store of values: what it gives back, when it does not, whole files, folders that cannot be written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flowprior.evaluation.store import Entry, Store
from flowprior.metrics import MetricInfo
from flowprior.processes.group import Group
from flowprior.storage.digests import signed

SETTINGS = {"flow": "abc", "nfe": 4, "guidance": 1.0}
FID = MetricInfo("distance", 100, "50 test examples", "lower", features="cnn128 sha256 12345678")
FIRST = {"fid": {"fid": FID, "empty": FID}}
"""What a metric gives whose second value came out empty."""


def filled(store: Store, path: Path | None = None) -> Entry:
    """An entry with a value, its deviation, a metric that came out empty, and facts."""
    entry = Entry(SETTINGS, path or store.read("euler", SETTINGS).path)
    entry.facts |= {"nfe": 4, "seconds": 0.5}
    assert entry.complete(FIRST, lambda metric: {"fid": 2.5, "fid-std": 0.5})
    return entry


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with one filled entry in a new folder."""
    found = Store(tmp_path / "new")
    filled(found)
    return found


def the_file(store: Store) -> Path:
    assert store.folder is not None
    (file,) = store.folder.iterdir()
    return file


def test_a_value_is_read_back(store: Store) -> None:
    found = Store(store.folder).read("euler", SETTINGS)
    assert found == filled(store)
    rows = list(found.rows({"fid": {**FIRST["fid"], "other": FID}}, seed=3))
    assert [(row["metric"], row["value"]) for row in rows] == [("fid", 2.5), ("fid-std", 0.5)]
    assert (rows[0]["seed"], rows[0]["features"]) == (3, FID.features)
    assert the_file(store).name.startswith("euler-")
    assert json.loads(the_file(store).read_text())["settings"] == SETTINGS


@pytest.mark.parametrize("key", list(SETTINGS))
def test_other_settings_have_nothing(store: Store, key: str) -> None:
    assert store.read("euler", {**SETTINGS, key: 9}).values == {}


def test_a_value_counts_only_while_it_is_what_is_asked_for() -> None:
    def never(metric: str) -> dict[str, float]:
        raise AssertionError("it was computed again")

    assert not filled(Store(None)).complete(FIRST, never)
    others = {"description": "squared", "samples": 99, "reference": "x", "features": "cnn128 sha256 0"}
    for field, value in others.items():
        entry, changed = filled(Store(None)), replace(FID, **{field: value})
        assert entry.complete({"fid": {"fid": changed}, "kid": {"kid": FID}}, lambda metric: {metric: 1.0})
        assert (entry.values["fid"], entry.metrics["fid"], entry.values["kid"]) == (1.0, changed, 1.0)


def test_a_value_that_comes_out_empty_takes_the_place_of_the_old() -> None:
    entry = filled(Store(None))
    entry.complete({"fid": {"fid": replace(FID, samples=7)}}, lambda metric: {})
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
    filled(store, file)
    assert store.read("euler", SETTINGS) == filled(store)
    assert the_file(store) == file


def test_a_folder_that_cannot_be_written_is_warned_of(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.warns(RuntimeWarning, match="values are not kept"):
        filled(Store(blocked))


def test_nothing_is_kept_without_a_folder_or_by_another_process_than_the_first(tmp_path: Path) -> None:
    filled(Store(None))
    others = Group()
    others.rank = 1
    filled(Store(tmp_path, others))
    assert list(tmp_path.iterdir()) == []
