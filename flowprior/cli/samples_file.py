"""Samples on disk: a picture, or arrays that ``flowprior`` reads back as a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from flowprior.conditions import Conditions, labels_in, named_tensors
from flowprior.errors import OptionError
from flowprior.pictures import SUFFIXES as PICTURES
from flowprior.pictures import beside, check_drawable, save_figure
from flowprior.storage import replacing, save_state

if TYPE_CHECKING:
    from flowprior.pictures.grid import Panel

SUFFIXES = (*PICTURES, ".npz", ".pt")


def check_suffix(path: Path | str) -> str:
    """The suffix of ``path``, if samples can be written so.

    Raises:
        OptionError: another suffix, or none.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise OptionError(f"samples: cannot write '{path}'; choose a name that ends in {', '.join(SUFFIXES)}")
    return suffix


def check_events(path: Path | str, event_shape: Sequence[int], show_prior: bool = False) -> None:
    """Refuse events that ``path`` could not hold, before they are generated.

    Raises:
        OptionError: a suffix that samples cannot be written as, or the prior is to be shown in no picture.
        InputError: a picture of events that cannot be drawn.
    """
    if check_suffix(path) in PICTURES:
        check_drawable(event_shape)
    elif show_prior:
        raise OptionError(f"--show-prior draws a picture, got '{path}'; choose a name that ends in .png")


def save_samples(
    path: Path | str,
    x: Tensor,
    cond: Conditions | None = None,
    title: str = "",
    *,
    panels: Mapping[str, Panel] | None = None,
    names: Sequence[str] | None = None,
    notes: Mapping[str, str] | None = None,
) -> None:
    """Write samples ``[N, *event]`` and their condition, as the suffix says.

    ``.npz`` and ``.pt`` hold ``x`` and ``cond`` (parts of it as ``cond.NAME``); names of another kind are
    pictures with ``title`` above.

    Args:
        path: of the file.
        x: samples.
        cond: their condition ``[N, …]``.
        title: of a picture.
        panels: what a picture shows in place of the samples and their condition alone, by name.
        names: of the rows of a picture.
        notes: keyword -> text, for the text chunks of a ``.png``.

    Raises:
        OptionError: another suffix.
        InputError: events that cannot be drawn.
        CheckpointError: the file cannot be written.
    """
    path, suffix = Path(path), check_suffix(path)
    tensors = {"x": x.detach().cpu()}
    tensors |= {name: tensor.detach().cpu() for name, tensor in named_tensors(cond).items()}
    if suffix in PICTURES:
        shown = panels or {"": (x, cond if isinstance(cond, Tensor) else labels_in(cond))}
        save_figure(beside(shown, title=title, names=names), path, notes)
    elif suffix == ".pt":
        save_state(path, tensors)
    else:
        _save_npz(path, tensors)


def _save_npz(path: Path, tensors: dict[str, Tensor]) -> None:
    import numpy as np

    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **{name: tensor.numpy() for name, tensor in tensors.items()})
