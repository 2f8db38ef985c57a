"""The file of a run is whole at every moment, and says of every step what became of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu.record import CUT, NOT_REACHED, Outcome, Record, file_name
from tests.benchmarks.gpu.some_steps import step


def read(path: Path) -> dict[str, Any]:
    """Its steps by name."""
    return {one["name"]: one for one in json.loads(path.read_text())["steps"]}


@pytest.fixture
def record(tmp_path: Path) -> Record:
    steps = [step("well"), step("hangs")]
    return Record(tmp_path / "results" / "card.json", {"card": "A card"}, steps, rehearsal=False)


def test_before_the_first_step_every_step_is_there(record: Record) -> None:
    content = json.loads(record.path.read_text())
    assert content["card"] == "A card"
    ends = [(one["name"], one["runs"], one["status"], one["error"]) for one in content["steps"]]
    assert ends == [
        ("well", "run well", "skipped", NOT_REACHED),
        ("hangs", "run hangs", "skipped", NOT_REACHED),
    ]


def test_a_step_under_way_counts_as_cut_until_it_ends(record: Record) -> None:
    record.begin("well")
    assert read(record.path)["well"]["status"] == "failed"
    assert read(record.path)["well"]["error"] == CUT
    record.partly("well", {"first": 1}, 0.5)
    assert read(record.path)["well"]["values"] == {"first": 1}
    assert read(record.path)["well"]["error"] == CUT
    record.end("well", Outcome({"first": 1, "second": 2}), 1.25)
    ended = read(record.path)["well"]
    assert (ended["status"], ended["error"], ended["seconds"]) == ("done", None, 1.2)
    assert ended["values"] == {"first": 1, "second": 2}
    assert record.failed == []


def test_an_error_keeps_the_values_found_before_it(record: Record) -> None:
    record.end("well", Outcome({"first": 1}, "two kernels disagree"), 1)
    ended = read(record.path)["well"]
    assert (ended["status"], ended["error"]) == ("failed", "two kernels disagree")
    assert ended["values"] == {"first": 1}
    assert record.failed == ["well"]


def test_nothing_but_the_file_is_left_in_its_folder(record: Record) -> None:
    record.skip("well", "0 s were left")
    assert [path.name for path in record.path.parent.iterdir()] == ["card.json"]


def test_a_rehearsal_is_never_called_done(tmp_path: Path) -> None:
    record = Record(tmp_path / "rehearsal.json", {"card": None}, [step("well")], rehearsal=True)
    record.end("well", Outcome({}), 1)
    assert read(record.path)["well"]["status"] == "rehearsed"


def test_a_file_is_named_after_its_card() -> None:
    assert file_name("NVIDIA H100 80GB HBM3") == "nvidia-h100-80gb-hbm3.json"
    assert file_name(None) == "rehearsal.json"
