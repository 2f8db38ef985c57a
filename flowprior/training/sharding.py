"""Weights that processes hold shards of: PyTorch's FSDP2, and tensors that are whole again.

A process holds its part of the weights, of their average, of the gradients and of the optimiser's moments,
and brings the weights of one block together while that block is at work (Zhao et al. 2023, arXiv 2304.11277).
On disk the shards lie as ``torch.distributed.checkpoint`` writes them to safetensors: nothing is pickled.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed import checkpoint
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from flowprior.errors import CheckpointError

MODEL, OPTIMIZER = OURS = ("raw.", "optimizer.")
"""What names of shards begin with: those of raw weights, and of the optimiser's moments."""
MOMENTS = ("exp_avg", "exp_avg_sq")
"""Of AdamW, each as large as the weights."""


def shard(module: nn.Module, mesh: DeviceMesh) -> None:
    """Divide the weights of a module among the processes of a mesh, in place.

    The outermost items of its ``nn.ModuleList`` are blocks, whose weights come together one block at a time;
    what is in none of them comes together for the whole pass.
    """
    for block in _blocks(module):
        fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from (item for item in child if any(True for _ in item.parameters()))
        else:
            yield from _blocks(child)


def whole(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with their shards joined; all processes call it, and each gets them."""
    return {
        name: value.full_tensor() if isinstance(value, DTensor) else value for name, value in tensors.items()
    }


def load_whole(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy whole tensors into a module whose weights may be shards.

    Raises:
        RuntimeError: they are not the module's.
    """
    own = module.state_dict()
    if own.keys() != tensors.keys():
        raise RuntimeError(f"expected tensors {sorted(own)}, got {sorted(tensors)}")
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(like(tensors[name], value))


def like(value: Tensor, held: Tensor) -> Tensor:
    """A whole tensor, divided as ``held`` is; every process has the same whole one."""
    if not isinstance(held, DTensor):
        return value
    if value.shape != held.shape:
        raise RuntimeError(f"expected a tensor {list(held.shape)}, got {list(value.shape)}")
    placed = value.to(held.device_mesh.device_type, held.dtype)
    return distribute_tensor(placed, held.device_mesh, held.placements, src_data_rank=None)


def split_optimizer(state: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The moments of an optimiser's state by name, and the rest of it."""
    moments = {
        f"{OPTIMIZER}{moment}.{number}": own[moment]
        for number, own in state["state"].items()
        for moment in MOMENTS
    }
    rest = {
        number: {key: value for key, value in own.items() if key not in MOMENTS}
        for number, own in state["state"].items()
    }
    return moments, {**state, "state": rest}


def join_optimizer(rest: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The state again that :func:`split_optimizer` took apart."""
    state = {
        number: {**own, **{moment: tensors[f"{OPTIMIZER}{moment}.{number}"] for moment in MOMENTS}}
        for number, own in rest["state"].items()
    }
    return {**rest, "state": state}


def load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Load a state of whole tensors into an optimiser whose weights may be shards."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    placed = {
        number: {key: like(value, weights[number]) if key in MOMENTS else value for key, value in own.items()}
        for number, own in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": placed})


def write_shards(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write the shards of tensors into a folder that exists; all processes call it.

    Raises:
        CheckpointError: a process could not write.
    """
    writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
    try:
        with _without_warnings():
            checkpoint.save(dict(tensors), storage_writer=writer)
    except checkpoint.api.CheckpointException as error:
        reason = " ".join(str(error).split())[-200:]
        raise CheckpointError(f"cannot write shards to {folder}: {reason}") from error


def read_shards(folder: Path) -> dict[str, Tensor]:
    """The whole tensors of the shards in a folder, where others may lie, on the CPU, in this process alone.

    Raises:
        CheckpointError: they cannot be read, or one is missing.
    """
    try:
        known = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
        tensors: dict[str, Any] = {
            name: torch.empty(found.size, dtype=found.properties.dtype)
            for name, found in known.items()
            if isinstance(found, TensorStorageMetadata) and name.startswith(OURS)
        }
        with _without_warnings():
            checkpoint.load(tensors, storage_reader=HuggingFaceStorageReader(str(folder)), no_dist=True)
    except Exception as error:  # whatever torch makes of files that are not its own
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(f"the shards in {folder} cannot be read: {reason}") from error
    return tensors


def _without_warnings() -> warnings.catch_warnings:
    """torch warns of its own deprecated calls in there."""
    return warnings.catch_warnings(action="ignore")
