"""The whole command without a card: each step says what it would run, and runs what the CPU can."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import page
from benchmarks.gpu.command import ROOT
from benchmarks.gpu.steps import STEPS
from flowprior.ops.backend import native_devices
from tests.native.parity import OPERATORS

pytestmark = pytest.mark.slow  # a process for each of the steps


@dataclass
class Rehearsal:
    """What it wrote, what it said, and its folder."""

    content: dict[str, Any]
    said: str
    folder: Path

    def values(self, name: str) -> dict[str, Any]:
        return next(step["values"] for step in self.content["steps"] if step["name"] == name)


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    folder = tmp_path_factory.mktemp("rehearsal")
    words = [sys.executable, "-m", "benchmarks.gpu", "--rehearse", "--minutes", "60"]
    environment = {**os.environ, "OUT": str(folder), "PYTEST_ADDOPTS": ""}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Rehearsal(json.loads((folder / "rehearsal.json").read_text()), done.stderr, folder)


def test_every_step_is_rehearsed_and_says_what_it_would_run(rehearsal: Rehearsal) -> None:
    ends = [(step["name"], step["status"]) for step in rehearsal.content["steps"]]
    assert ends == [(step.name, "rehearsed") for step in STEPS]
    for step in STEPS:
        assert step.runs in rehearsal.said
        assert step.does in rehearsal.said


def test_nothing_in_it_passes_for_a_card(rehearsal: Rehearsal) -> None:
    assert rehearsal.content["card"] is None
    assert rehearsal.content["device"] == "cpu"
    assert page.read(rehearsal.folder) == []


def test_the_tests_for_a_card_are_found_and_skipped(rehearsal: Rehearsal) -> None:
    for name, least in (("parity", 500), ("graphs", 3 * len(OPERATORS))):
        values = rehearsal.values(name)
        assert values["skipped"] >= least
        assert values["passed"] == values["failed"] == 0


def test_the_small_cases_call_every_operator(rehearsal: Rehearsal) -> None:
    calls = rehearsal.values("sanitizer")["calls"]
    if "cpu" in native_devices():
        assert set(calls) == set(OPERATORS)
    else:
        assert calls.startswith("torch (")


def test_the_build_looks_for_its_tools(rehearsal: Rehearsal) -> None:
    assert set(rehearsal.values("build")["tools"]) == {"nvcc", "compiler", "ninja", "pybind11", "torch"}


def test_every_operator_has_a_time_and_a_share_of_the_copys_rate(rehearsal: Rehearsal) -> None:
    values = rehearsal.values("operators")
    assert values["copy_rate"] > 1e6
    names = {row["operator"] for row in values["rows"]}
    assert {"gmm_sample", "gmm_path", "gmm_log_prob", "gmm_log_prob_all", "interpolate"} < names
    for row in values["rows"]:
        assert row["peers"]["eager"] > 0
        expected = row["moved"] / (row["milliseconds"] * 1e-3) / values["copy_rate"]
        assert math.isclose(row["share_of_copy"], expected)


def test_a_step_is_divided_into_its_parts(rehearsal: Rehearsal) -> None:
    designs = rehearsal.values("profile")["designs"]
    shared = {"data", "prior", "coupling", "times", "path", "network", "loss", "backward", "optimiser"}
    assert shared <= set(designs["gaussian+condot"]["host"])
    assert shared | {"prediction", "clipping", "average"} <= set(designs["default"]["host"])
    for design in designs.values():
        assert all(taken > 0 for taken in design["host"].values())
        assert design["idle"] is None


def test_both_designs_are_trained_and_evaluated_at_the_same_places(rehearsal: Rehearsal) -> None:
    designs = rehearsal.values("training")["designs"]
    assert designs["default"]["coupling"] == "posterior"
    assert designs["gaussian+condot"]["prediction"] == "velocity"
    for design in designs.values():
        assert set(design["distances"]) == {"fid-cnn128"}
        assert set(design["distances"]["fid-cnn128"]) == {"0", "1", "real data"}
        assert all(math.isfinite(value) for value in design["distances"]["fid-cnn128"].values())
