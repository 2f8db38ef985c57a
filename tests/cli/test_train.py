"""flowprior train: what it leaves, where its options come from, and going on."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from flowprior.training import RunConfig, TrainingConfig
from tests.cli.conftest import SHORT, Call

SMALL = ["--model", "mlp:width=16,depth=1", *SHORT]


def config(run: Path) -> dict[str, Any]:
    return tomllib.loads((run / "config.toml").read_text())


def test_options_and_set_win_over_the_file(call: Call, tmp_path: Path) -> None:
    file, out = tmp_path / "run.toml", tmp_path / "run"
    file.write_text('prior = "gaussian"\ncoupling = "ot"\n[training]\nsteps = 9\nseed = 8\nlr = 0.25\n')
    overrides = [
        word for key in ("training.seed=4", "training.seed=5", "coupling=condot") for word in ("--set", key)
    ]
    own = ["--path", "vp", "--prediction", "epsilon"]
    answer = call("train", "--out", out, "--config", file, *overrides, "--steps", "3", *own, *SMALL)
    assert answer.code == 0, answer.err
    found = config(out)
    assert (found["prior"], found["coupling"], found["path"]) == ("gaussian", "condot", "vp")
    expected = {"steps": 3, "seed": 5, "lr": 0.25, "prediction": "epsilon", "device": "cpu"}
    assert expected.items() <= found["training"].items()
    ancestral = ["--sampler", "ancestral", "--nfe", "5", "--out", tmp_path / "x.npz", "--json"]
    assert json.loads(call("sample", out, *ancestral).out)["nfe"] == 5


def test_the_help_tells_the_defaults(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    said = " ".join(call("train", "--help").out.split())
    training, run = TrainingConfig(), RunConfig()
    for default in (training.steps, training.batch_size, training.lr, run.data, run.prior, run.path):
        assert f"; {default} by default" in said


def test_it_ends_by_saying_where_the_picture_is_and_what_to_type_next(call: Call, tmp_path: Path) -> None:
    out = tmp_path / "my run"
    drawn = ["--set", "training.sample_every=2"]
    answer = call("train", "--out", out, "--prior", "gaussian", "--steps", "2", *drawn, *SMALL)
    picture = out / "samples" / "step-000002.png"
    assert f"samples beside those of the prior alone: {picture}" in answer.out
    assert picture.is_file()
    assert f"next: flowprior sample '{out}' --out grid.png" in answer.out
    assert f"or: flowprior evaluate '{out}'" in answer.out
    again = call("train", "--out", out, "--resume", "--json")
    assert json.loads(again.out)["picture"] == str(picture)


def test_a_finished_run_may_lack_its_log_but_not_its_configuration(call: Call, tmp_path: Path) -> None:
    out = tmp_path / "run"
    call("train", "--out", out, "--data", "eight-modes:n=200", "--prior", "gaussian", "--steps", "2", *SMALL)
    (out / "metrics.jsonl").unlink()
    answer = call("train", "--out", out, "--resume")
    assert answer.code == 0, answer.err
    assert not {"nan", "None", "loss"} & set(answer.out.split())
    (out / "config.toml").unlink()
    answer = call("train", "--resume", "--out", out)
    assert (answer.code, "config.toml is missing" in answer.err) == (2, True)


def test_two_runs_without_a_name_get_a_folder_each(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = [
        "--data",
        "eight-modes:n=200",
        "--prior",
        "gmm",
        "--coupling",
        "condot",
        "--steps",
        "2",
        *SMALL,
    ]
    for number in (1, 2):
        folder = f"runs/eight-modes-gmm-condot-{number}"
        answer = call("train", *options)
        assert answer.code == 0, answer.err
        assert f"the run is in {folder}" in answer.err
        assert f"the flow is in {folder}/flow" in answer.out
        assert (tmp_path / folder / "flow" / "flow.json").is_file()
    assert call("train", *options, "--prior", "gmn").code == 2
    assert len(list((tmp_path / "runs").iterdir())) == 2
