"""The files of samples: figures, or arrays and cells that ``flowprior`` reads as a data set."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from flowprior.cli.asked import NAMELESS, Asked
from flowprior.conditions import Conditions
from flowprior.conditions.rows import labels_in, named_tensors
from flowprior.display.shown import counted
from flowprior.errors import OptionError
from flowprior.flow.flow import prior_means
from flowprior.pictures import animate, beside, save_animation, save_figure
from flowprior.pictures.grid import check_drawable
from flowprior.pictures.saving import SUFFIXES as PICTURES
from flowprior.pictures.trajectories import check_animation
from flowprior.registry.plugins import load_point, package_version, points_of
from flowprior.storage.tensor_files import save_state
from flowprior.storage.writing import check_place, replacing

if TYPE_CHECKING:
    from flowprior.flow import Flow
    from flowprior.pictures.grid import Panel
    from flowprior.samplers.base import Solution

OWN = (*PICTURES, ".npz", ".pt")
"""The suffixes of files that need no writer of an extension."""
WRITERS = "flowprior.writers"
"""The entry-point group of writers, each named by the suffix of its files, without the dot."""
DEFAULTS = {"temperature": None, "prior_guidance": None, "guidance": 1.0}
"""The defaults of the settings that a title names if they differ, in the order of the title."""


class Writer(Protocol):
    """A writer of samples to files of one suffix, which an extension offers."""

    def check(self, path: Path, event_shape: Sequence[int] | None = None) -> None:
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


def check_suffix(path: Path | str) -> str:
    """Return the suffix of ``path``, which has to be one of a file of samples.

    Raises:
        OptionError: another suffix, or none.
    """
    suffix, known = Path(path).suffix.lower(), [*OWN, *(f".{point.name}" for point in points_of(WRITERS))]
    if suffix not in known:
        raise OptionError(f"samples: cannot write '{path}'; choose a name that ends in {', '.join(known)}")
    return suffix


def writer_of(path: Path | str) -> Writer | None:
    """Return the writer of an extension for ``path``; None for a figure or a file of arrays."""
    suffix = check_suffix(path)
    return None if suffix in OWN else load_point(WRITERS, suffix.removeprefix("."), f"writing '{path}'")()


def check_files(out: Path | None, animation: Path | None) -> None:
    """Refuse files that cannot be written, before anything is loaded.

    Args:
        out: the file of samples, or None.
        animation: the file of the animated trajectories, or None.

    Raises:
        OptionError: neither of the two, or an impossible suffix.
        FlowpriorError: a writer that cannot be loaded, or that refuses the file.
        CheckpointError: a folder in which no file can be made.
    """
    if out is None and animation is None:
        raise OptionError(
            "missing option '--out': give it a file for the samples, or --animate a file for an animation"
        )
    if out is not None:
        if writer := writer_of(out):
            writer.check(out)
        check_place(out)
    if animation is not None:
        check_animation(animation)
        check_place(animation)


def check_events(
    out: Path | None, animation: Path | None, event_shape: Sequence[int], show_prior: bool = False
) -> None:
    """Refuse a shape of samples that the files cannot hold, before samples are drawn.

    Args:
        out: the file of samples, or None.
        animation: the file of the animated trajectories, or None.
        event_shape: the shape of one sample.
        show_prior: True to show the prior's mean and source samples in ``out``.

    Raises:
        OptionError: ``show_prior`` with a file that is no figure.
        InputError: a figure of samples that cannot be drawn, or cells that are no vectors.
    """
    if out is not None and (writer := writer_of(out)):
        writer.check(out, event_shape)
    picture = out is not None and check_suffix(out) in PICTURES
    if picture or animation is not None:
        check_drawable(event_shape)
    if show_prior and not picture:
        raise OptionError(f"--show-prior draws a figure, got '{out}'; choose a name that ends in .png")


def save_samples(
    path: Path | str,
    x: Tensor,
    cond: Conditions | None = None,
    title: str = "",
    *,
    panels: Mapping[str, Panel] | None = None,
    names: Sequence[str] | None = None,
    facts: Any = None,
    notes: Mapping[str, str] | None = None,
) -> None:
    """Write samples ``[N, *event]`` and their condition in the format of the suffix.

    ``.npz`` and ``.pt`` files hold ``x`` and ``cond`` (parts as ``cond.NAME``); writers of extensions have
    suffixes of their own; any other suffix is that of a figure.

    Args:
        path: the file.
        x: the samples.
        cond: their condition ``[N, …]``.
        title: the title of a figure.
        panels: the panels of a figure by name, in place of one panel of the samples.
        names: the names of the rows of a figure, and of labels.
        facts: the description of the training data in the flow's metadata, for writers of extensions.
        notes: texts by keyword, for the text chunks of a ``.png`` and for writers of extensions.

    Raises:
        OptionError: another suffix.
        InputError: samples that cannot be drawn.
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
    elif writer := writer_of(path):
        writer.write(path, x, cond, facts=facts, names=names or (), notes=notes)
    else:
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)


def save_motion(
    path: Path, solution: Solution, rows: Tensor | None, title: str, names: Sequence[str] | None
) -> None:
    """Write the trajectories from source samples to samples as an animation.

    Args:
        path: the file.
        solution: the solution with its trajectory.
        rows: the row of each sample in a frame, ``[N]``, or its embedding; None for no rows.
        title: the title of every frame.
        names: the names of the rows.

    Raises:
        OptionError: a suffix other than .gif.
        CheckpointError: the file cannot be written.
    """
    assert solution.trajectory is not None
    save_animation(animate(solution.trajectory, solution.times, rows, names=names, title=title), path)


def prior_panels(flow: Flow, asked: Asked, source: Tensor, x: Tensor) -> dict[str, Panel]:
    """Return the panels of the prior's means, of source samples, and of samples x ``[N, *event]``."""
    places = torch.zeros(1, dtype=torch.long)
    if asked.rows is not None and not asked.rows.is_floating_point():
        places = torch.stack([(asked.rows == row).nonzero()[0, 0] for row in asked.rows.unique()])
    mean = prior_means(flow, None if asked.cond is None else asked.cond[places])
    return {
        "prior mean": (mean, None if asked.rows is None else asked.rows[places]),
        "prior samples": (source, asked.rows),
        "flow": (x, asked.rows),
    }


def title_of(run: str, asked: Asked, nfe: int, settings: Mapping[str, Any]) -> str:
    """Return the title of a figure: the run, a single label, the evaluations, and changed settings.

    Args:
        run: the name of the run.
        asked: the conditions of the samples.
        nfe: the number of evaluations.
        settings: the arguments of :meth:`flowprior.Flow.solve`.
    """
    labels = asked.rows.unique().tolist() if asked.class_names and asked.rows is not None else []
    words = [str(asked.class_names[label]) for label in labels] if len(labels) == 1 else []
    words.append(f"{counted(nfe, 'evaluation')}, {settings['sampler']}" if nfe else "the prior alone")
    for name, default in DEFAULTS.items():
        if settings[name] not in (None, default) and (nfe or name != "guidance"):
            words.append(f"{name.replace('_', ' ')} {settings[name]:g}")
    if (negative := settings.get("negative")) is not None and nfe:
        words.append(f"away from '{negative or NAMELESS}'")
    return f"{run}: {', '.join(words)}"


def notes_of(asked: Asked, **settings: Any) -> dict[str, str]:
    """Return the texts to store in a file of samples: their words (several as a JSON list) and settings."""
    about = {
        name: json.dumps(words, ensure_ascii=False) if len(words) > 1 else words[0]
        for name, words in asked.words.items()
    }
    values = {**about, **settings, "flowprior": package_version()}
    return {name: str(value) for name, value in values.items() if value is not None}
