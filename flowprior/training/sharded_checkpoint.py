"""A checkpoint whose raw weights and optimiser are written in shards, each by the process that holds it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from flowprior.flow import Flow
from flowprior.storage.writing import beside, explaining, sync, writing
from flowprior.training.checkpoints import SHARD, TORCH_SHARD, Keep, finish, keep_only, remove_checkpoint
from flowprior.training.engine import Engine
from flowprior.training.sharding import MODEL, split_optimizer, write_shards


def save_sharded(
    folder: Path,
    step: int,
    flow: Flow,
    weights: dict[str, Tensor],
    training: dict[str, Any],
    keep: Keep,
    engine: Engine,
) -> Path:
    """As :func:`~flowprior.training.checkpoints.save_checkpoint`; all processes call it, on one file system.

    Raises:
        CheckpointError: a process could not write; earlier checkpoints are untouched.
    """
    final, group = folder / f"step-{step:06d}", engine.processes
    temporary = group.of_each(beside(final))[0]
    moments, training["optimizer"] = split_optimizer(training["optimizer"])
    try:
        with writing(final), explaining(final):
            with group.raising_together():
                if engine.is_main:
                    temporary.mkdir(parents=True)
            write_shards(temporary, {**{f"{MODEL}{name}": own for name, own in weights.items()}, **moments})
            with group.raising_together():
                if engine.is_main:
                    files = {f"{SHARD}{k}": (path.name, sync) for k, path in enumerate(_named(temporary))}
                    finish(temporary, final, flow, {**training, "step": step}, files)
    finally:
        if engine.is_main:
            remove_checkpoint(temporary)
    if engine.is_main:
        keep_only(folder, step, keep)
    engine.wait()
    return final


def _named(folder: Path) -> list[Path]:
    """The files that torch wrote, under names that nobody else gives."""
    found = sorted(path for path in folder.iterdir() if TORCH_SHARD.fullmatch(path.name))
    names = [folder / f"raw-shard-{k}-of-{len(found)}.safetensors" for k in range(1, len(found) + 1)]
    return [path.rename(name) for path, name in zip(found, names, strict=True)]
