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

MODEL = "mlp:width=16,depth=1"
SHORT = {"model": MODEL, "steps": 30, "batch_size": 32, "sample_every": 0, "lr": 1e-3, "warmup": 5}
DATA = "eight-modes:n=200"


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A run from N(0, I)."""
    out = tmp_path_factory.mktemp("base") / "run"
    train(DATA, prior="gaussian", coupling="condot", out=str(out), progress=False, **SHORT)
    return out


def still(path: Path, **options: object) -> torch.nn.Module:
    """The network after one step so small that it hardly moves."""
    flow = train(DATA, progress=False, **{**SHORT, "steps": 1, "lr": 1e-12, "init": str(path), **options})
    return flow.model


@pytest.mark.parametrize("place", ["", "flow"])
def test_a_run_and_its_flow_give_the_averaged_weights(base, place):
    weights = read_weights(base / place)
    model = still(base / place, prior="gmm", coupling="condot")
    for name, tensor in model.state_dict().items():
        assert torch.allclose(tensor, weights[name], atol=1e-6)


@pytest.mark.parametrize("wrapper", [None, "state_dict", "ema"])
def test_files_of_other_programs_serve(base, tmp_path, wrapper):
    weights = read_weights(base)
    path = tmp_path / "weights.pt"
    torch.save({wrapper: weights, "epoch": 3} if wrapper else weights, path)
    safe = tmp_path / "weights.safetensors"
    save_file(weights, safe)
    for file in (path, safe):
        found = read_weights(file)
        assert found.keys() == weights.keys()
        assert all(torch.equal(found[name], weights[name]) for name in weights)


@pytest.mark.parametrize("spec", [MODEL, "unet:widths=16-16"])
@pytest.mark.parametrize(
    "condition", [Condition("labels", 8), Condition.of_shape((1, 4, 4))], ids=["labels", "image"]
)
def test_a_network_that_is_shown_more_gives_at_first_what_the_other_gave(spec, condition, tmp_path):
    """Images of the condition keep their place behind what is shown more."""
    one, three = (build_model(spec, torch.Size([1, 8, 8]), condition, inputs) for inputs in (1, 3))
    torch.nn.init.normal_(one.output.weight)
    torch.save(one.state_dict(), tmp_path / "weights.pt")
    start_from(three, tmp_path / "weights.pt")
    x, t = torch.randn(6, 1, 8, 8), torch.rand(6)
    cond = torch.arange(6) if condition.kind == "labels" else torch.randn(6, 1, 4, 4)
    shown = torch.cat([x, torch.randn(6, 2, 8, 8)], 1)
    assert torch.allclose(one(x, t, cond), three(shown, t, cond), atol=1e-5)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_what_wrappers_put_before_names_is_taken_off(base, tmp_path, prefix):
    weights = read_weights(base)
    torch.save({prefix + name: tensor for name, tensor in weights.items()}, tmp_path / "w.pt")
    assert still(tmp_path / "w.pt", prior="gaussian") is not None


@pytest.mark.parametrize("odd", [torch.ones(2, dtype=torch.complex64), torch.eye(2).to_sparse()])
def test_other_kinds_of_tensors_are_refused(tmp_path, odd):
    torch.save({"weight": odd, 3: torch.ones(1)}, tmp_path / "odd.pt")
    with pytest.raises(CheckpointError, match="expected dense tensors of real numbers, got 'weight'"):
        still(tmp_path / "odd.pt", prior="gaussian")


def test_only_the_layer_that_sees_x_may_have_more_inputs(tmp_path):
    small, large = (build_model(MODEL, torch.Size([2]), Condition("embeddings", size)) for size in (4, 8))
    torch.save(small.state_dict(), tmp_path / "small.pt")
    with pytest.raises(CheckpointError, match="is another network's: expected embedding"):
        start_from(large, tmp_path / "small.pt")


def test_a_resumed_run_goes_on_from_its_own_weights_without_the_others(base, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(base, copy)
    common = {**SHORT, "prior": "gmm", "coupling": "condot", "init": str(copy), "progress": False}
    train(DATA, out=str(tmp_path / "run"), **common)
    shutil.rmtree(copy)
    longer = train(DATA, out=str(tmp_path / "run"), resume=True, **(common | {"steps": 40}))
    assert longer.metadata["step"] == 40


def test_a_run_may_begin_with_the_weights_of_the_one_that_it_replaces(base, tmp_path):
    run = shutil.copytree(base, tmp_path / "run")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    options = {
        **SHORT,
        "steps": 2,
        "prior": "gaussian",
        "coupling": "condot",
        "out": str(run),
        "overwrite": True,
    }
    with pytest.raises(CheckpointError, match="nowhere"):
        train(DATA, init="nowhere", **options)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert train(DATA, init=str(run / "flow"), **options).metadata["step"] == 2


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"model": "mlp:width=16,depth=2"}, r"is another network's: it lacks blocks.1"),
        ({"model": "mlp:width=8,depth=1"}, r"is another network's: expected .* \[.*\], got \["),
    ],
)
def test_another_network_is_refused_by_name(base, change, match):
    with pytest.raises(CheckpointError, match=match):
        still(base, prior="gaussian", coupling="condot", **change)


def test_what_is_no_network_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere"):
        still(tmp_path / "nowhere", prior="gaussian")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(CheckpointError, match="cannot be read"):
        still(tmp_path / "text.pt", prior="gaussian")
    torch.save({"epoch": 3}, tmp_path / "empty.pt")
    with pytest.raises(CheckpointError, match="no weights of a network"):
        still(tmp_path / "empty.pt", prior="gaussian")
    torch.save({"weight": torch.tensor([float("nan")])}, tmp_path / "nan.pt")
    with pytest.raises(CheckpointError, match="NaN"):
        still(tmp_path / "nan.pt", prior="gaussian")
