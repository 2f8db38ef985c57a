"""A network that starts with another one's weights, from a run, a flow or a file."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from flowprior import train
from flowprior.conditions import Condition
from flowprior.errors import CheckpointError
from flowprior.extensions.few_evaluations.warm_start import read_weights, start_from
from flowprior.models import build_model
from tests.extensions.conftest import refused

MODEL = "mlp:width=16,depth=1"
SHORT = {"model": MODEL, "steps": 30, "batch_size": 32, "sample_every": 0, "lr": 1e-3, "warmup": 5}
DATA = "eight-modes:n=200"


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A run from N(0, I)."""
    out = tmp_path_factory.mktemp("base") / "run"
    train(DATA, prior="gaussian", coupling="condot", out=str(out), progress=False, **SHORT)
    return out


@pytest.mark.parametrize("place", ["", "flow"])
def test_a_run_and_its_flow_give_the_averaged_weights(base, place):
    """One step so small that the network hardly moves."""
    options = {**SHORT, "steps": 1, "lr": 1e-12, "prior": "gmm", "coupling": "condot", "progress": False}
    weights, model = read_weights(base / place), train(DATA, init=str(base / place), **options).model
    for name, tensor in model.state_dict().items():
        assert torch.allclose(tensor, weights[name], atol=1e-6)


@pytest.mark.parametrize("spec", [MODEL, "unet:widths=16-16"])
@pytest.mark.parametrize(
    "condition", [Condition("labels", 8), Condition.of_shape((1, 4, 4))], ids=["labels", "image"]
)
def test_a_network_that_is_shown_more_gives_at_first_what_the_other_gave(spec, condition, tmp_path):
    """Images of the condition keep their place behind what is shown more."""
    one, three = (build_model(spec, torch.Size([1, 8, 8]), condition, inputs) for inputs in (1, 3))
    torch.nn.init.normal_(one.output.weight)
    weights = {name: tensor.contiguous() for name, tensor in one.state_dict().items()}
    save_file(weights, tmp_path / "weights.safetensors")
    start_from(three, tmp_path / "weights.safetensors")
    x, t = torch.randn(6, 1, 8, 8), torch.rand(6)
    cond = torch.arange(6) if condition.kind == "labels" else torch.randn(6, 1, 4, 4)
    shown = torch.cat([x, torch.randn(6, 2, 8, 8)], 1)
    assert torch.allclose(one(x, t, cond), three(shown, t, cond), atol=1e-5)


def test_a_resumed_run_goes_on_from_its_own_weights_without_the_others(base, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(base, copy)
    common = {**SHORT, "prior": "gmm", "coupling": "condot", "init": str(copy), "progress": False}
    train(DATA, out=str(tmp_path / "run"), **common)
    shutil.rmtree(copy)
    longer = train(DATA, out=str(tmp_path / "run"), resume=True, **(common | {"steps": 40}))
    assert longer.metadata["step"] == 40


def test_what_is_no_network_is_refused(tmp_path):
    for name, content in (("text.pt", b"hello"), ("text.safetensors", b"hello")):
        (tmp_path / name).write_bytes(content)
        with refused(name, CheckpointError):
            read_weights(tmp_path / name)
    save_file({"weight": torch.tensor([float("nan")])}, tmp_path / "nan.safetensors")
    with refused("NaN", CheckpointError):
        read_weights(tmp_path / "nan.safetensors")


@pytest.mark.parametrize(
    ("model", "condition", "message"),
    [
        ("mlp:width=16,depth=2", Condition("labels", 8), r"is another network's: it lacks blocks.1"),
        ("mlp:width=8,depth=1", Condition("labels", 8), r"is another network's: expected .* \[.*\], got \["),
        (MODEL, Condition("embeddings", 8), "is another network's: "),
    ],
)
def test_another_network_is_refused_by_name(base, model, condition, message):
    """Only the layer that sees x may have more inputs."""
    with refused(message, CheckpointError):
        start_from(build_model(model, torch.Size([2]), condition), base)


def test_a_run_may_begin_with_the_weights_of_the_one_that_it_replaces(base, tmp_path):
    run = shutil.copytree(base, tmp_path / "run")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    options = {**SHORT, "steps": 2, "prior": "gaussian", "coupling": "condot", "out": run, "overwrite": True}
    with refused("nowhere", CheckpointError):
        train(DATA, init="nowhere", **options)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert train(DATA, init=str(run / "flow"), **options).metadata["step"] == 2
