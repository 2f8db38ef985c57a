"""Weights that processes hold shards of: PyTorch's FSDP2, and tensors that are whole again.

A process holds its part of the weights, of their average, of the gradients and of the optimiser's moments,
and brings the weights of one block together while that block is at work (Zhao et al. 2023, arXiv 2304.11277).
On disk the shards lie as ``torch.distributed.checkpoint`` writes them to safetensors: nothing is pickled.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, distributed, nn
from torch.distributed import checkpoint
from torch.distributed.checkpoint import HuggingFaceStorageWriter
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from flowprior.errors import CheckpointError, OptionError
from flowprior.flow.tensors import plain_names

PLACES = "DCP_SHARDING_INFO"
"""Where a file says which part of each tensor it holds."""
MODEL, OPTIMIZER = "raw.", "optimizer."
"""What names of shards begin with: those of raw weights, and of the optimiser's moments."""
MOMENTS = ("exp_avg", "exp_avg_sq")
"""Of AdamW, each as large as the weights."""


def shard(module: nn.Module, mesh: DeviceMesh) -> None:
    """Divide the weights of a module among the processes of a mesh, in place; all begin with the first one's.

    The outermost items of its ``nn.ModuleList`` that are no lists are blocks, whose weights come together one
    block at a time; what is in none of them comes together for the whole pass.

    Raises:
        OptionError: weights that cannot be divided, such as single numbers.
    """
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            tensor.data = tensor.data.contiguous()  # of channels-last memory FSDP2 knows nothing
    share_first((*module.parameters(), *module.buffers()))
    try:
        for part in (*_blocks(module), module):
            part.register_forward_hook(_own_output)
            fully_shard(part, mesh=mesh)
    except (ValueError, NotImplementedError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise OptionError(
            f"training.shard: this network cannot be divided ({reason}); set it to false"
        ) from error


def _own_output(module: nn.Module, inputs: Any, output: Any) -> Any:
    """The output with memory of its own: of a view FSDP2 would lose what it does before the backward pass."""
    return output.clone() if isinstance(output, Tensor) and output._is_view() else output


def _blocks(module: nn.Module, in_list: bool = False) -> Iterator[nn.Module]:
    for child in module.children():
        is_list = isinstance(child, nn.ModuleList | nn.ModuleDict)
        if in_list and not is_list and any(True for _ in child.parameters()):
            yield child
        else:
            yield from _blocks(child, is_list)


def share_first(tensors: Iterable[Tensor]) -> None:
    """Give all processes the first one's values of tensors that are no shards, in place."""
    for tensor in tensors:
        if not isinstance(tensor, DTensor):
            distributed.broadcast(tensor.data, 0)


def copy_whole(source: nn.Module, target: nn.Module) -> None:
    """Copy the weights of a module, whose shards are joined one tensor at a time; all processes call it."""
    held = target.state_dict()
    with torch.no_grad():
        for name, value in source.state_dict().items():
            whole = value.full_tensor() if isinstance(value, DTensor) else value
            held[name].copy_(whole)


def load_whole(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy whole tensors, under their names without ``torch.compile``, into a module of shards.

    Raises:
        RuntimeError: they are not the module's.
    """
    own = plain_names(module.state_dict())
    if own.keys() != tensors.keys():
        raise RuntimeError(f"expected tensors {sorted(own)}, got {sorted(tensors)}")
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(like(tensors[name], value))


def like(value: Tensor, held: Tensor) -> Tensor:
    """A whole tensor, divided as ``held`` is; every process has the same whole one."""
    if value.shape != held.shape:
        raise RuntimeError(f"expected a tensor {list(held.shape)}, got {list(value.shape)}")
    if not isinstance(held, DTensor):
        return value
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


def join_shards(files: Iterable[bytes]) -> dict[str, Tensor]:
    """The whole tensors of the contents of shard files, on the CPU.

    Raises:
        CheckpointError: they are no such files, or a part of a tensor is missing.
    """
    pieces: dict[str, list[tuple[list[int], Tensor]]] = {}
    try:
        for content in files:
            length = int.from_bytes(content[:8], "little")
            said = json.loads(content[8 : 8 + length])["__metadata__"][PLACES]
            places = json.loads(said)
            for name, tensor in safetensors.torch.load(content).items():
                offsets = [int(number) for number in places[name]["saved_offsets"]]
                pieces.setdefault(name, []).append((offsets, tensor))
        return {name: _joined(own) for name, own in pieces.items()}
    except CheckpointError:
        raise
    except Exception as error:  # whatever the readers make of files that are not theirs
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(f"shards cannot be read: {reason}; use another checkpoint") from error


def _joined(pieces: list[tuple[list[int], Tensor]]) -> Tensor:
    """The tensor that pieces with their offsets are of."""
    ends = [[o + n for o, n in zip(offset, piece.shape, strict=True)] for offset, piece in pieces]
    shape = [max(column) for column in zip(*ends, strict=True)]
    found = torch.empty(shape, dtype=pieces[0][1].dtype)
    if sum(piece.numel() for _, piece in pieces) != found.numel():
        raise CheckpointError("a part of a tensor is in no shard; use another checkpoint")
    for (offset, piece), end in zip(pieces, ends, strict=True):
        found[tuple(slice(begin, stop) for begin, stop in zip(offset, end, strict=True))] = piece
    return found


def _without_warnings() -> warnings.catch_warnings:
    """torch warns of its own deprecated calls in there."""
    return warnings.catch_warnings(action="ignore")
