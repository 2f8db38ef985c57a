"""Which ``.npy`` files hold latents, and which the labels or embeddings that belong to them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowprior.data.npy_rows import MappedRows, check_floating, mapped_rows
from flowprior.data.user_tensors import check_labels
from flowprior.errors import DataNotFoundError, InputError, OptionError
from flowprior.storage.user_paths import existing_file, is_there

EVENTS = ("latents", "x")
"""What a file of events is called; what follows is the number of a part, as in ``latents-003.npy``."""
CONDITIONS = ("labels", "cond", "y")
AUTO, NONE = "auto", "none"


@dataclass(frozen=True)
class LatentFiles:
    """Memory-mapped arrays, in the order of their names.

    Attributes:
        paths: of the arrays of events.
        events: ``[N, *event]``.
        labels: int64 ``[N]``, or None.
        embeddings: ``[N, E]``, or None.
    """

    paths: list[Path]
    events: MappedRows
    labels: Tensor | None = None
    embeddings: MappedRows | None = None

    def __len__(self) -> int:
        return len(self.events)


def latent_files(place: Path, labels: str) -> LatentFiles:
    """The arrays of a folder or one file, and the conditions that ``labels`` names.

    Raises:
        DataNotFoundError: no arrays of events, or no file of labels.
        InputError: arrays that cannot be read or do not fit together.
        OptionError: one file of labels for events in several.
    """
    paths = _events_in(place)
    events = [mapped_rows(path) for path in paths]
    for path, array in zip(paths, events, strict=True):
        _check_events(path, array, events[0])
    conditions = _conditions_of(paths, events, labels)
    if conditions is None:
        return LatentFiles(paths, MappedRows(events))
    if conditions[0].dtype.kind in "iu":
        return LatentFiles(paths, MappedRows(events), labels=_labels(conditions, place))
    return LatentFiles(paths, MappedRows(events), embeddings=MappedRows(conditions))


def _events_in(place: Path) -> list[Path]:
    if not place.is_dir():
        return [place]
    for name in EVENTS:
        whole = place / f"{name}.npy"
        found = [whole] if is_there(whole, "is_file") else sorted(place.glob(f"{name}-*.npy"))
        if found:
            return found
    raise DataNotFoundError(
        f"latents: no {' or '.join(f'{name}.npy' for name in EVENTS)} in {place}, and none in parts such as "
        "latents-000.npy; name the file itself"
    )


def _check_events(path: Path, array: np.ndarray, first: np.ndarray) -> None:
    check_floating(array.dtype, str(path))
    if array.ndim < 2 or not array.size:
        raise InputError(f"{path}: expected events [N, *event] with N >= 1, got {list(array.shape)}")
    if array.shape[1:] != first.shape[1:]:
        raise InputError(
            f"{path}: expected events {list(first.shape[1:])} as in the first part, got "
            f"{list(array.shape[1:])}"
        )


def _conditions_of(paths: list[Path], events: list[np.ndarray], labels: str) -> list[np.ndarray] | None:
    """One array of conditions for each array of events, of their lengths."""
    if labels == NONE:
        return None
    if labels != AUTO and len(paths) > 1:
        raise OptionError(
            f"latents: labels={labels} is one file for events in {len(paths)} parts; put labels-000.npy and "
            "so on beside them"
        )
    given = None if labels == AUTO else existing_file(labels, "latents", ".npy file of labels")
    found = [_beside(path) if given is None else given for path in paths]
    if not any(found):
        return None
    conditions = []
    for path, file, array in zip(paths, found, events, strict=True):
        if file is None:
            raise DataNotFoundError(f"latents: no labels beside {path}, as other parts have; add them")
        conditions.append(_condition(file, len(array)))
    if len({(array.dtype.kind in "iu", array.shape[1:]) for array in conditions}) > 1:
        raise InputError(
            f"{found[0]}: expected conditions of one kind and size in all parts; write them anew"
        )
    return conditions


def _beside(path: Path) -> Path | None:
    """The file of conditions that belongs to a file of events by its name."""
    named = next((name for name in EVENTS if path.stem == name or path.stem.startswith(f"{name}-")), None)
    ending = "" if named is None else path.stem.removeprefix(named)
    beside = (path.with_name(f"{name}{ending}.npy") for name in CONDITIONS)
    return next((file for file in beside if is_there(file, "is_file") and file != path), None)


def _condition(file: Path, count: int) -> np.ndarray:
    """Labels ``[count]`` of whole numbers, or embeddings ``[count, E]``."""
    array = mapped_rows(file)
    if array.dtype.kind in "iu":
        array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
        if array.shape == (count,):
            return array
    else:
        check_floating(array.dtype, str(file))
        if array.ndim == 2 and len(array) == count and array.shape[1]:
            return array
    raise InputError(
        f"{file}: expected labels [{count}] of whole numbers or embeddings [{count}, E], got {array.dtype} "
        f"{list(array.shape)}; pass labels=none to leave them out"
    )


def _labels(arrays: list[np.ndarray], place: Path) -> Tensor:
    labels = torch.cat([torch.from_numpy(array.astype(np.int64)) for array in arrays])
    check_labels(labels, str(place))
    return labels
