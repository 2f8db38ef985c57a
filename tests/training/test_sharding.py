"""Networks in shards, and shards in files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

from flowprior.errors import CheckpointError
from flowprior.training.sharding import PLACES, join_optimizer, join_shards, split_optimizer
from tests.training.sharded_models import SPECS


@pytest.mark.slow
def test_registered_networks_give_the_same_in_shards(tmp_path: Path) -> None:
    """The U-Net too, whose weights lie in channels-last memory and in lists of lists."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    file = tmp_path / "losses.json"
    done = subprocess.run(
        [sys.executable, *launch, "-m", "tests.training.sharded_models", str(file)],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(file.read_text(encoding="utf-8"))
    refused = found.pop("refused")
    assert set(found) == set(SPECS.values())
    for loss, expected in found.values():
        assert expected > 0
        assert loss == pytest.approx(expected, rel=1e-5)
    assert "training.shard: this network cannot be divided" in refused


def file_of(tensors: dict[str, torch.Tensor], offsets: dict[str, list[int]]) -> bytes:
    said = {name: {"saved_offsets": offset} for name, offset in offsets.items()}
    return safetensors.torch.save(tensors, {PLACES: json.dumps(said)})


def test_pieces_are_joined_wherever_they_lie() -> None:
    whole = torch.arange(12.0).reshape(4, 3)
    files = [file_of({"a": whole[2:]}, {"a": [2, 0]}), file_of({"a": whole[:2]}, {"a": [0, 0]})]
    assert torch.equal(join_shards(files)["a"], whole)


@pytest.mark.parametrize("damage", ["missing", "text", "short"])
def test_what_is_no_whole_tensor_is_refused(damage: str) -> None:
    whole = torch.arange(12.0).reshape(4, 3)
    file = file_of({"a": whole[2:]}, {"a": [2, 0]})
    content = {"missing": file, "text": b"not a tensor", "short": file[:-4]}[damage]
    with pytest.raises(CheckpointError, match="use another checkpoint"):
        join_shards([content])


def test_the_state_of_an_optimiser_comes_apart_and_together() -> None:
    weight = torch.nn.Parameter(torch.randn(3))
    optimiser = torch.optim.AdamW([weight], lr=0.1)
    weight.square().sum().backward()
    optimiser.step()
    state = optimiser.state_dict()
    moments, rest = split_optimizer(state)
    assert sorted(moments) == ["optimizer.exp_avg.0", "optimizer.exp_avg_sq.0"]
    joined = join_optimizer(rest, moments)
    assert torch.equal(joined["state"][0]["exp_avg"], state["state"][0]["exp_avg"])
    assert joined["param_groups"] == state["param_groups"]
