"""The files of samples: figures, or arrays and cells that ``flowprior`` reads as a data set."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from flowprior.cli.conditions import LABEL, SampleRequest
from flowprior.conditions import Conditions
from flowprior.conditions.rows import named_tensors
from flowprior.display.shown import counted
from flowprior.errors import OptionError
from flowprior.flow.flow import prior_means
from flowprior.pictures.grid import check_drawable
from flowprior.pictures.saving import SUFFIXES as PICTURES
from flowprior.pictures.trajectories import check_animation
from flowprior.registry.plugins import load_point, package_version, points_of
from flowprior.storage.tensor_files import save_state
from flowprior.storage.writing import check_place, replacing

if TYPE_CHECKING:
    from flowprior.flow import Flow
    from flowprior.pictures.grid import Panel

OWN = (*PICTURES, ".npz", ".pt")
"""The suffixes of files that need no writer of an extension."""
WRITERS = "flowprior.writers"
"""The entry-point group of writers, each named by the suffix of its files, without the dot."""


class Writer(Protocol):
    """A writer of samples to files of one suffix, which an extension offers."""

    def check(self, path: Path, event_shape: Sequence[int]) -> None:
        """Refuse a file or a shape of samples that cannot be written, before samples are drawn."""

    def write(
        self,
        path: Path,
        x: Tensor,
        cond: Conditions | None,
        *,
        facts: Any,
        names: Sequence[str],
        notes: Mapping[str, str] | None,
    ) -> None:
        """Write samples ``[N, *event]``.

        Args:
            path: the file.
            x: the samples.
            cond: their condition ``[N, …]``.
            facts: the description of the training data in the flow's metadata.
            names: the names of labels, or none.
            notes: texts to store in the file, by keyword.
        """


def writer_of(path: Path) -> Writer | None:
    """Return the writer of an extension for ``path``; None for a figure or a file of arrays.

    Raises:
        OptionError: a suffix that no file of samples has.
    """
    suffix, known = path.suffix.lower(), [*OWN, *(f".{point.name}" for point in points_of(WRITERS))]
    if suffix not in known:
        raise OptionError(f"samples: cannot write '{path}'; choose a name that ends in {', '.join(known)}")
    return None if suffix in OWN else load_point(WRITERS, suffix.removeprefix("."), f"writing '{path}'")()


def draws_figure(path: Path) -> bool:
    """Return True for the file of a figure."""
    return path.suffix.lower() in PICTURES


def check_files(
    out: Path | None, animation: Path | None, event_shape: Sequence[int], show_prior: bool = False
) -> None:
    """Refuse files that cannot be written, or cannot hold such samples, before samples are drawn.

    Args:
        out: the file of samples, or None.
        animation: the file of the animated trajectories, or None.
        event_shape: the shape of one sample.
        show_prior: True to show the prior's mean and source samples in ``out``.

    Raises:
        OptionError: an impossible suffix, or ``show_prior`` with a file that is no figure.
        InputError: a figure of samples that cannot be drawn.
        FlowpriorError: a writer that cannot be loaded, or that refuses the file.
        CheckpointError: a folder in which no file can be made.
    """
    figure = out is not None and draws_figure(out)
    if out is not None:
        if writer := writer_of(out):
            writer.check(out, event_shape)
        check_place(out)
    if animation is not None:
        check_animation(animation)
        check_place(animation)
    if figure or animation is not None:
        check_drawable(event_shape)
    if show_prior and not figure:
        raise OptionError(f"--show-prior draws a figure, got '{out}'; choose a name that ends in .png")


def save_samples(
    path: Path,
    x: Tensor,
    cond: Conditions | None = None,
    *,
    facts: Any = None,
    names: Sequence[str] = (),
    notes: Mapping[str, str] | None = None,
) -> None:
    """Write samples ``[N, *event]`` and their condition in the format of the suffix.

    ``.npz`` and ``.pt`` files hold ``x`` and ``cond`` (parts as ``cond.NAME``); writers of extensions have
    suffixes of their own.

    Args:
        path: the file.
        x: the samples.
        cond: their condition ``[N, …]``.
        facts: the description of the training data in the flow's metadata, for writers of extensions.
        names: the names of labels, for writers of extensions.
        notes: texts by keyword, for writers of extensions.

    Raises:
        OptionError: another suffix.
        CheckpointError: the file cannot be written.
    """
    if writer := writer_of(path):
        writer.write(path, x, cond, facts=facts, names=names, notes=notes)
        return
    tensors = {name: tensor.detach().cpu() for name, tensor in {"x": x, **named_tensors(cond)}.items()}
    if path.suffix.lower() == ".pt":
        save_state(path, tensors)
        return
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def prior_panels(flow: Flow, request: SampleRequest, source: Tensor, x: Tensor) -> dict[str, Panel]:
    """Return the panels of the prior's means, of source samples, and of samples x ``[N, *event]``."""
    rows = torch.zeros(len(x), dtype=torch.long) if request.rows is None else request.rows
    first = torch.stack([(rows == row).nonzero()[0, 0] for row in rows.unique()])
    mean = prior_means(flow, None if request.cond is None else request.cond[first])
    return {
        "prior mean": (mean, None if request.rows is None else request.rows[first]),
        "prior samples": (source, request.rows),
        "flow": (x, request.rows),
    }


def title_of(run: str, request: SampleRequest, nfe: int, settings: Mapping[str, Any]) -> str:
    """Return the title of a figure: the run, a single label, the evaluations, and changed settings.

    Args:
        run: the name of the run.
        request: the samples.
        nfe: the number of evaluations.
        settings: the arguments of :meth:`flowprior.Flow.solve`.
    """
    labels = request.words.get(LABEL, ())
    words = [*labels] if len(labels) == 1 else []
    words.append(f"{counted(nfe, 'evaluation')}, {settings['sampler']}" if nfe else "the prior alone")
    for name, value in settings.items():
        if isinstance(value, float) and value != 1 and (nfe or name != "guidance"):
            words.append(f"{name.replace('_', ' ')} {value:g}")
    return f"{run}: {', '.join(words)}"


def notes_of(request: SampleRequest, **settings: Any) -> dict[str, str]:
    """Return the texts to store in a file of samples: their words (several as a JSON list) and settings."""
    about = {
        name: json.dumps(words, ensure_ascii=False) if len(words) > 1 else words[0]
        for name, words in request.words.items()
    }
    values = {**about, **settings, "flowprior": package_version()}
    return {name: str(value) for name, value in values.items() if value is not None}
