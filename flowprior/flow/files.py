"""A flow on disk: ``flow.json`` says how to rebuild its parts and binds the file with their tensors.

The tensors lie in ``weights-DIGEST.safetensors``. ``flow.json`` is renamed into place last: until then the
folder holds the flow that it held before, from then on the new one. What is superseded is removed
afterwards, and nothing else ever is. The cards that extensions keep beside them follow last.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path as FilePath
from typing import Any, Protocol

from torch import Tensor, nn

from flowprior.errors import CheckpointError
from flowprior.flow.description import (
    DESCRIPTION,
    FILES,
    bindings_of,
    describe,
    read_description,
    write_description,
)
from flowprior.flow.parts import FlowParts
from flowprior.flow.reading import read_flow
from flowprior.flow.tensors import refuse_non_finite, tensors_of
from flowprior.registry import points_of
from flowprior.storage import FolderLock, bind, is_leftover, remove_files
from flowprior.storage.digests import PATIENCE, save_by_digest
from flowprior.storage.lock import NAME as LOCK
from flowprior.storage.writing import explaining, sync

_BOUND = re.compile(r"weights-[0-9a-f]{16}\.safetensors")


class Card(Protocol):
    """What an extension keeps beside saved flows; a module that ``flowprior.cards`` names, or an object."""

    def write_card(self, folder: FilePath, description: Mapping[str, Any]) -> None:
        """Write it beside a flow that was saved; where it cannot be written, warn."""

    def add_evaluation(self, folder: FilePath, evaluation: Any, digest: str | None) -> None:
        """Add a :class:`flowprior.evaluation.Result` of the flow whose weights have this sha256."""

    def remove_card(self, folder: FilePath) -> None:
        """Remove it, for the flow is to be removed, too."""


def cards() -> list[Card]:
    """Return what extensions keep beside saved flows; one that cannot be imported warns and is skipped."""
    found = []
    for point in points_of("flowprior.cards"):
        try:
            found.append(point.load())
        except Exception as error:
            message = f"card '{point.name}' ({point.value}) is skipped: {type(error).__name__}: {error}"
            warnings.warn(message, RuntimeWarning, stacklevel=3)
    return found


def save_flow(flow: FlowParts, directory: FilePath) -> None:
    """Write ``flow`` to ``directory``; a flow already there is replaced at once and survives a failure.

    Raises:
        CheckpointError: the directory holds something else, it cannot be written, a part is not registered,
            or a tensor is not finite.
        OptionError: another process is saving there.

    Warns:
        RuntimeWarning: the network is a function, which has no weights of its own to save.
    """
    check_target(directory)
    if not isinstance(flow.model, nn.Module):
        warnings.warn(
            "flow.save: the network is a function, and whatever weights it calls are not saved; give Flow a "
            "torch.nn.Module, one that calls yours where the arguments differ",
            RuntimeWarning,
            stacklevel=3,
        )
    description, tensors = describe(flow), tensors_of(flow)
    refuse_non_finite(tensors, "flow.save")
    _replace(directory, description, tensors)


def copy_flow(source: FilePath, target: FilePath) -> None:
    """Copy the flow in ``source``, a saved flow or a checkpoint, to ``target``, without what else is there.

    Raises:
        CheckpointError: it cannot be read, or the copy cannot be written.
    """
    description, tensors = read_flow(source)
    del description[FILES]
    _replace(target, description, tensors)


def _replace(directory: FilePath, description: Mapping[str, Any], tensors: dict[str, Tensor]) -> None:
    """Put a flow into the place of the one in ``directory``, or of none."""
    with FolderLock(directory, PATIENCE, quiet=True) as lock:
        check_target(directory)
        superseded = _files_of(directory)
        try:
            write_flow(directory, description, tensors)
            kept = _files_of(directory)
            remove_files(directory / name for name in superseded if name not in kept)
            for card in cards():
                card.write_card(directory, read_description(directory))
        finally:
            if lock.held:
                sweep_flow(directory)


def write_flow(
    folder: FilePath,
    description: Mapping[str, Any],
    tensors: dict[str, Tensor],
    extra: Mapping[str, tuple[str, Callable[[FilePath], None]]] | None = None,
) -> None:
    """Write a flow's files into ``folder``, and ``flow.json`` last.

    Args:
        folder: exists.
        description: of :func:`flowprior.flow.description.describe`.
        tensors: of :func:`flowprior.flow.tensors.tensors_of`.
        extra: role -> (file name, its writer), for what else belongs to it.

    Raises:
        CheckpointError: a file cannot be written.
    """
    files = {"weights": save_by_digest(folder, "weights", tensors, {"flowprior": description["flowprior"]})}
    for role, (name, write) in (extra or {}).items():
        write(folder / name)
        files[role] = bind(folder / name)
    with explaining(folder):
        sync(folder)
    write_description(folder, description, files)


def check_target(directory: FilePath) -> None:
    """Refuse to save into what is neither absent, empty nor a saved flow.

    Raises:
        CheckpointError: what it is, and what to do.
    """
    if not directory.exists():
        return
    if not directory.is_dir():
        raise CheckpointError(f"cannot save a flow to {directory}, which is a file; choose a directory")
    if (directory / DESCRIPTION).is_file():
        return
    others = sorted(path.name for path in directory.iterdir() if not is_flow_file(path))
    if others:
        raise CheckpointError(
            f"cannot save a flow to {directory}, which holds {others[0]!r} and is no saved flow; choose a "
            f"new or empty directory, such as {directory / 'flow'}"
        )


def sweep_flow(directory: FilePath) -> None:
    """Remove what a killed save left in ``directory``; only for the holder of its lock.

    Files that no ``flow.json`` binds, and only where it can be read or is not there.
    """
    try:
        kept = _files_of(directory)
    except CheckpointError:
        return
    for path in directory.iterdir() if directory.is_dir() else ():
        if path.name != LOCK and is_flow_file(path) and path.name not in kept:
            remove_files([path])


def _files_of(directory: FilePath) -> list[str]:
    """Names of the files of the flow that ``directory`` holds; none where it holds none or a damaged one."""
    if not (directory / DESCRIPTION).is_file():
        return []
    try:
        description = read_description(directory)
    except CheckpointError:
        # What a damaged description bound, nobody can tell: all that bears such a name is left alone.
        return [path.name for path in directory.iterdir() if _BOUND.fullmatch(path.name)]
    return [binding.name for binding in bindings_of(description).values()]


def is_flow_file(path: FilePath) -> bool:
    """Whether only a save of a flow gives such a name."""
    named = _BOUND.fullmatch(path.name) or is_leftover(path) or path.name == LOCK
    return path.is_file() and bool(named)
