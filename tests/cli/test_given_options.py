"""Options that another package adds to ``train``, ``sample`` and ``evaluate``: those of tests/plugin."""

from __future__ import annotations

import json
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flowprior.cli import commands, samples_file
from flowprior.errors import OptionError
from flowprior.registry import plugins
from tests.cli.conftest import SHORT, Call, succeed

PLUGIN = Path(__file__).parents[1] / "plugin"


@pytest.fixture(autouse=True)
def plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry points of the plug-in alone, as if it were installed."""
    monkeypatch.syspath_prepend(str(PLUGIN))
    declared = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]["entry-points"]

    def points(group: str) -> list[EntryPoint]:
        return [EntryPoint(name, value, group) for name, value in declared[group].items()]

    monkeypatch.setattr(commands, "points_of", points)


def test_settings_of_training(call: Call, tmp_path: Path) -> None:
    parts = ["--data", "digits", "--prior", "gaussian", "--model", "mlp:width=8", *SHORT]
    succeed("train", *parts, "--brief", "--out", tmp_path / "run")
    assert json.loads((tmp_path / "run" / "info.json").read_text())["step"] == 1
    answer = call("train", *parts, "--brief", "--set", "training.steps=2", "--out", tmp_path / "other")
    assert "--set training.steps=…: an option of the command gives training.steps, too" in answer.err


def test_settings_of_an_evaluation(run: Path) -> None:
    answer = succeed("evaluate", run, "--nfe", "1", "--metrics", "w2", "--few", "32", "--json")
    assert json.loads(answer.out)["settings"]["samples"] == 32


def test_conditions_and_settings_of_samples(call: Call, run: Path, tmp_path: Path) -> None:
    cold = ["--temperature", "0.5", "--cond", "4", "--n", "3"]
    for name, options in {"own": ["--label", "4"], "core": cold}.items():
        succeed("sample", run, *options, "--nfe", "1", "--out", tmp_path / f"{name}.npz")
    assert np.array_equal(*(np.load(tmp_path / f"{name}.npz")["x"] for name in ("own", "core")))
    succeed("sample", run, "--label", "4", "--nfe", "1", "--out", tmp_path / "s.png")
    with Image.open(tmp_path / "s.png") as image:
        assert {"label": "4", "temperature": "0.5"}.items() <= image.text.items()  # type: ignore[attr-defined]
    refused = call("sample", run, "--label", "4", "--cond", "4", "--out", tmp_path / "s.npz")
    assert (refused.code, "--label and --cond exclude each other; choose one" in refused.err) == (2, True)


def test_a_writer_that_cannot_be_loaded_is_answered_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("xyz", "flowprior.errors:nothing", samples_file.WRITERS)
    for module in (samples_file, plugins):
        monkeypatch.setattr(module, "points_of", lambda group: [point])
    with pytest.raises(
        OptionError, match=r"writing 'a.xyz' needs 'xyz' of flowprior.writers, which cannot be"
    ):
        samples_file.writer_of(Path("a.xyz"))


def test_a_broken_provider_and_an_option_that_is_taken_are_skipped_with_a_line() -> None:
    answer = succeed("sample", "--help")
    assert "Label of which cold samples are drawn." in " ".join(answer.out.replace("│", "").split())
    assert answer.err.splitlines() == [
        "flowprior: warning: options 'sample.seed' (flowprior_test_plugin_command:seed_of_mine) are skipped: "
        "'seed' is an option of sample already; give it another name",
        "flowprior: warning: options 'sample.broken' (flowprior_test_plugin_broken:broken) are skipped: "
        "No module named 'a_library_that_nobody_has'",
    ]
