"""DDPM from the command line: noise prediction on the diffusion path, and its two samplers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import SHORT, Call

PARTS = ["--data", "digits", "--prior", "gaussian", "--coupling", "condot", "--model", "mlp:width=16"]


@pytest.fixture(scope="module")
def ddpm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from .conftest import call_app

    out = tmp_path_factory.mktemp("runs") / "ddpm"
    epsilon = ["--path", "vp", "--set", "training.prediction=epsilon"]
    answer = call_app("train", *PARTS, *epsilon, "--out", out, "--steps", "6", *SHORT)
    assert answer.code == 0, answer.err
    return out


@pytest.mark.parametrize("sampler", ["ddim", "ddim:eta=0.5", "ancestral", "euler"])
def test_every_sampler_spends_exactly_what_it_is_given(
    call: Call, ddpm: Path, tmp_path: Path, sampler: str
) -> None:
    target = tmp_path / "x.npz"
    answer = call("sample", ddpm, "--sampler", sampler, "--nfe", "5", "--out", target, "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["nfe"] == 5
    assert target.is_file()
