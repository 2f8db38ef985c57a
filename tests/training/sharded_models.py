"""Divides each network over the processes of torchrun and takes a step; writes the losses as JSON."""

from __future__ import annotations

import json
import sys

import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh

from flowprior.conditions import Condition
from flowprior.errors import OptionError
from flowprior.models.base import build_model
from flowprior.processes.leaving import leave
from flowprior.training.sharding import copy_whole, load_whole, shard

SPECS = {"unet": "unet:widths=8-16", "dit": "dit:width=16,depth=2,heads=2", "mlp": "mlp:width=16,depth=2"}


class Scaled(nn.Linear):
    """A network with a single number for a weight, which FSDP2 does not take."""

    def __init__(self) -> None:
        super().__init__(3, 3)
        self.scale = nn.Parameter(torch.tensor(1.0))


def step(spec: str) -> tuple[float, float]:
    """Loss of a whole network and of the divided one, whose weights have gone there and back."""
    torch.manual_seed(distributed.get_rank())  # what the processes begin with is the first one's all the same
    model, whole = (build_model(spec, torch.Size([1, 8, 8]), Condition("labels", 3)) for _ in range(2))
    generator = torch.Generator().manual_seed(1)
    tensors = {
        name: torch.randn(value.shape, generator=generator) * 0.1 if value.is_floating_point() else value
        for name, value in model.state_dict().items()
    }
    whole.load_state_dict(tensors)
    shard(model, init_device_mesh("cpu", (distributed.get_world_size(),)))
    load_whole(model, tensors)
    x = torch.randn(4, 1, 8, 8, generator=generator)
    asked = x, torch.rand(4, generator=generator), torch.tensor([0, 1, 2, 1])
    expected = float(whole(*asked).square().mean())
    loss = model(*asked).square().mean()
    loss.backward()
    copy_whole(model, whole)
    assert all(torch.equal(value, tensors[name]) for name, value in whole.state_dict().items())
    return float(loss), expected


def main(path: str) -> None:
    distributed.init_process_group("gloo")
    found: dict[str, object] = {spec: step(spec) for spec in SPECS.values()}
    try:
        shard(Scaled(), init_device_mesh("cpu", (distributed.get_world_size(),)))
    except OptionError as error:
        found["refused"] = str(error)
    if distributed.get_rank() == 0:
        with open(path, "w", encoding="utf-8") as file:
            json.dump(found, file)
    leave()


if __name__ == "__main__":
    main(sys.argv[1])
