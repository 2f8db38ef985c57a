"""flowprior train-encoder, and train, sample and evaluate of a flow in its latents."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.cli.conftest import SHORT, Answer, Call, call_app, drawn, succeed
from tests.extensions.latents.pictures import pictures

PARTS = ["--prior", "gmm", "--coupling", "condot", "--model", "mlp:width=16,depth=1", "--steps", "3", *SHORT]
SMALL = ["--latent", "2", "--widths", "4-8", "--steps", "20", "--batch-size", "8", "--device", "cpu"]


def on_a_terminal(*arguments: str | Path) -> Answer:
    """Call the command line where stderr is taken for a terminal."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flowprior.progress.stages._in_terminal", lambda: True)
        return call_app(*arguments)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty pictures of 7 pixels, which 4 does not divide."""
    file = tmp_path_factory.mktemp("data") / "pictures.pt"
    torch.save({"x": pictures(size=7).x, "y": torch.arange(40) % 3}, file)
    return file


@pytest.fixture(scope="module")
def weights(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("weights") / "vae.safetensors"
    answer = on_a_terminal("train-encoder", "--data", data, "--out", file, "--json", *SMALL)
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert found["latent_shape"] == [2, 2, 2]
    assert found["pictures"] == 3
    assert found["psnr"] > 3
    assert answer.err == ""
    return file


def test_from_pictures_to_a_flow_in_latents_and_back(data: Path, weights: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    trained = succeed("train", "--data", data, "--latent", f"vae:weights={weights}", "--out", run, *PARTS)
    assert "encoding 37 latents [2, 2, 2] of" in " ".join(trained.err.split())
    assert (run / "latents" / "encoded.json").is_file()
    assert drawn(run, tmp_path / "x.npz", "--nfe", "2", "--count", "2")["x"].shape == (6, 3, 7, 7)
    succeed("sample", run, "--out", tmp_path / "x.png", "--nfe", "2")
    found = succeed(
        "evaluate", run, "--nfe", "0,2", "--samples", "12", "--metrics", "w2,truncation", "--json"
    )
    assert {row["split"] for row in json.loads(found.out)["rows"]} >= {"test"}
    assert "encoding" not in succeed("train", "--out", run, "--resume").err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--latent", "vea"], "unknown encoder 'vea'; did you mean 'vae'"),
        (["--latent", "vae:weights=nowhere.safetensors"], "no file nowhere.safetensors"),
        (["--latent", "autoencoder-kl"], "path is missing; write"),
        (["--cache", "c"], "choose an encoder with latent (--latent) too"),
        (["--latent", "identity", "--cache", "c", "--no-cache"], "exclude each other"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    call: Call, data: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    answer = call("train", "--data", data, "--out", tmp_path / "run", *options, *PARTS)
    assert (answer.code, len(answer.err.splitlines())) == (2, 1)
    assert message in answer.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--latent", "identity", "--out", "r", *PARTS], "expected images, 'moons' has"),
        (["train-encoder", "--out", "vae.safetensors", *SMALL], "expected images, 'moons' has events"),
        (["train-encoder", "--out", "vae.pt", *SMALL], "ends in .safetensors"),
    ],
)
def test_points_have_no_latents(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = call(*words, "--data", "moons:n=50")
    assert (answer.code, message in answer.err) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_the_next_command_after_captioned_pictures_can_be_typed(tmp_path: Path) -> None:
    data, out = tmp_path / "captioned.pt", tmp_path / "vae.safetensors"
    torch.save({"x": pictures(size=8).x, "y": torch.randn(40, 4)}, data)
    answer = on_a_terminal("train-encoder", "--data", data, "--out", out, *SMALL)
    assert " [00:" in answer.err
    (line,) = [line for line in answer.out.splitlines() if line.startswith("next: flowprior ")]
    short = ["--model", "mlp:width=16,depth=1", "--steps", "3", *SHORT]
    succeed(*line.removeprefix("next: flowprior ").split(), "--out", tmp_path / "run", *short)
