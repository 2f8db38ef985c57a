"""A checkpoint whose raw weights and optimiser are written in shards, each by the process that holds it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from flowprior.flow import Flow
from flowprior.storage.writing import beside, explaining, sync, writing
from flowprior.training.checkpoints import SHARD, SHARD_FILE, Keep, finish, keep_only, remove_checkpoint
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
    final = folder / f"step-{step:06d}"
    temporary = Path(engine.told(str(beside(final))))
    moments, training["optimizer"] = split_optimizer(training["optimizer"])
    try:
        with writing(final), explaining(final):
            if engine.is_main:
                temporary.mkdir(parents=True)
            engine.wait()
            write_shards(temporary, {**{f"{MODEL}{name}": own for name, own in weights.items()}, **moments})
            engine.wait()
            if engine.is_main:
                names = sorted(path.name for path in temporary.iterdir() if SHARD_FILE.fullmatch(path.name))
                files = {f"{SHARD}{number}": (name, sync) for number, name in enumerate(names)}
                finish(temporary, final, flow, {**training, "step": step}, files)
    finally:
        if engine.is_main:
            remove_checkpoint(temporary)
    if engine.is_main:
        keep_only(folder, step, keep)
    engine.wait()
    return final
