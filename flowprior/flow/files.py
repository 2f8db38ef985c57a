"""A flow on disk: ``flow.json`` says how to rebuild its parts and binds the file with their tensors.

The tensors lie in ``weights-DIGEST.safetensors``. ``flow.json`` is renamed into place last: until then the
folder holds the flow that it held before, from then on the new one. What is superseded is removed
afterwards, and nothing else ever is.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path as FilePath
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from flowprior.conditions import Condition
from flowprior.couplings import Coupling
from flowprior.errors import CheckpointError, FlowpriorError
from flowprior.flow.description import (
    DESCRIPTION,
    FILES,
    FORMAT,
    bindings_of,
    describe,
    dtype_of,
    read_description,
    write_description,
)
from flowprior.flow.location import Location, find_flow
from flowprior.flow.parts import FlowParts
from flowprior.flow.tensors import assign_tensors, check_prior, kinds_of, refuse_non_finite, tensors_of
from flowprior.paths import Path
from flowprior.priors import Prior
from flowprior.storage import (
    Binding,
    FolderLock,
    bind,
    is_leftover,
    load_tensors,
    parse_tensors,
    read_bytes,
    remove_files,
    save_tensors,
)
from flowprior.storage.lock import NAME as LOCK
from flowprior.storage.reading import unreadable
from flowprior.storage.writing import beside, explaining, sync

F = TypeVar("F", bound=FlowParts)

OLD_WEIGHTS = "weights.safetensors"
"""Name of the tensors in formats 1 and 2."""
PATIENCE = 60.0
"""Seconds that a save waits for another one into the same folder."""
TRIES = 3
_BOUND = re.compile(r"weights-[0-9a-f]{16}\.safetensors")


# -- writing ----------------------------------------------------------------------------------


def save_flow(flow: FlowParts, directory: FilePath) -> None:
    """Write ``flow`` to ``directory``; a flow already there is replaced at once and survives a failure.

    Raises:
        CheckpointError: the directory holds something else, it cannot be written, a part is not registered,
            or a tensor is not finite.
        OptionError: another process is saving there.
    """
    check_target(directory)
    description, tensors = describe(flow), tensors_of(flow)
    refuse_non_finite(tensors, "flow.save")
    _replace(directory, description, tensors)


def copy_flow(source: FilePath, target: FilePath) -> None:
    """Copy the flow in ``source``, a saved flow or a checkpoint, to ``target``, without what else is there.

    Raises:
        CheckpointError: it cannot be read, or the copy cannot be written.
    """
    description, tensors = read_flow(source)
    description.pop(FILES, None)
    _replace(target, {**description, "format": FORMAT}, tensors)


def _replace(directory: FilePath, description: Mapping[str, Any], tensors: dict[str, Tensor]) -> None:
    """Put a flow into the place of the one in ``directory``, or of none."""
    with FolderLock(directory, PATIENCE, quiet=True) as lock:
        check_target(directory)
        superseded = _files_of(directory)
        try:
            write_flow(directory, description, tensors)
            kept = _files_of(directory)
            remove_files(directory / name for name in superseded if name not in kept)
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
    temporary = beside(folder / OLD_WEIGHTS)
    try:
        save_tensors(temporary, tensors, {"flowprior": description["flowprior"]})
        files = {"weights": _named_by_digest(bind(temporary))}
        with explaining(folder):
            temporary.replace(folder / files["weights"].name)
    finally:
        remove_files([temporary])
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
    names = [binding.name for binding in bindings_of(description).values()]
    return names or [OLD_WEIGHTS]


def is_flow_file(path: FilePath) -> bool:
    """Whether only a save of a flow gives such a name."""
    named = _BOUND.fullmatch(path.name) or is_leftover(path) or path.name == LOCK
    return path.is_file() and bool(named)


def _named_by_digest(binding: Binding) -> Binding:
    return Binding(f"weights-{binding.sha256[:16]}.safetensors", binding.sha256, binding.size)


# -- reading ----------------------------------------------------------------------------------


def load_flow(cls: type[F], path: FilePath, model: nn.Module | None) -> F:
    """Rebuild the flow, a ``cls``, in ``path``, a saved flow or a run, on the CPU.

    Raises:
        CheckpointError: missing, truncated, corrupted, of a newer version, or tensors that do not fit.
    """
    location, description, tensors = _read_settled(path)
    if location.note:
        warnings.warn(location.note, RuntimeWarning, stacklevel=3)
    refuse_non_finite(tensors, str(location.folder))
    try:
        flow = _rebuild(cls, description, model)
    except FlowpriorError as error:
        raise CheckpointError(f"{location.folder}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
        raise unreadable(location.folder / DESCRIPTION, error) from error
    kinds = kinds_of(flow.prior)
    parts: dict[str, Any] = {"model": flow.model, "prior": flow.prior}
    for name, part in parts.items():
        if isinstance(part, nn.Module):
            assign_tensors(part, tensors, name, f"{name} '{flow.specs[name]}'", location.folder)
    check_prior(flow.prior, kinds, description["event_shape"], flow.condition, location.folder)
    return flow


def read_flow(folder: FilePath) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(description, tensors) of a folder that :func:`write_flow` wrote, or an older version of it.

    Raises:
        CheckpointError: a file is missing, damaged, or belongs to another flow.
    """
    description = read_description(folder)
    if description["format"] < FORMAT:
        warnings.warn(
            f"{folder} is a flow of format {description['format']}, in which nothing says that its files "
            "belong together; save it again with this version",
            RuntimeWarning,
            stacklevel=4,
        )
        return description, load_tensors(folder / OLD_WEIGHTS)[0]
    data = bindings_of(description)["weights"].read(folder / DESCRIPTION)
    return description, parse_tensors(data, folder / bindings_of(description)["weights"].name)[0]


def _read_settled(path: FilePath) -> tuple[Location, dict[str, Any], dict[str, Tensor]]:
    """Read the flow in ``path``, once more where another process replaced it meanwhile."""
    for _ in range(TRIES - 1):
        location = find_flow(path)
        before = _stamp(location.folder)
        try:
            return location, *read_flow(location.folder)
        except CheckpointError:
            if find_flow(path) == location and _stamp(location.folder) == before:
                raise
    location = find_flow(path)
    return location, *read_flow(location.folder)


def _stamp(folder: FilePath) -> bytes | None:
    """``flow.json`` as it is now; None where it cannot be read."""
    try:
        return read_bytes(folder / DESCRIPTION)
    except CheckpointError:
        return None


def _rebuild(cls: type[F], description: dict[str, Any], model: nn.Module | None) -> F:
    condition = Condition(**description["condition"])
    if model is None:
        model = _build_model(description, condition)
    return cls(
        model,
        Prior.registry.resolve(description["prior"]),
        Coupling.registry.resolve(description["coupling"]),
        Path.registry.resolve(description["path"]),
        condition,
        prediction=description["prediction"],
        **{f"{part}_spec": description[part] for part in ("model", "prior", "coupling", "path")},
        metadata=description["metadata"],
    )


def _build_model(description: dict[str, Any], condition: Condition) -> nn.Module:
    from flowprior.models import build_model

    if not description["model"]:
        raise CheckpointError("its model is not one of flowprior's; pass it as Flow.load(…, model=network)")
    model = build_model(description["model"], torch.Size(description["event_shape"]), condition)
    dtype = dtype_of(description)
    return model.to(dtype) if dtype else model
