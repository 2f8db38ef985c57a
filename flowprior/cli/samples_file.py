"""Samples on disk: a picture and what it shows, or arrays or cells that ``flowprior`` reads as a data set."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from flowprior.cli.asked import NAMELESS, Asked
from flowprior.conditions import Conditions, labels_in, named_tensors
from flowprior.display import counted
from flowprior.errors import OptionError
from flowprior.flow.flow import prior_means
from flowprior.pictures import SUFFIXES as PICTURES
from flowprior.pictures import (
    animate,
    beside,
    check_animation,
    check_drawable,
    save_animation,
    save_figure,
)
from flowprior.registry import load_point, package_version, points_of
from flowprior.storage import check_place, replacing, save_state

if TYPE_CHECKING:
    from flowprior.flow import Flow
    from flowprior.pictures.grid import Panel
    from flowprior.samplers import Solution

OWN = (*PICTURES, ".npz", ".pt")
"""Suffixes of the files that need no writer of an extension."""
WRITERS = "flowprior.writers"
"""The entry-point group of writers, each named as the suffix of its files is, without the dot."""
PLAIN = {"temperature": None, "prior_guidance": None, "guidance": 1.0}
"""Settings that a title names, in this order, and what they are where nobody asked for anything."""


class Writer(Protocol):
    """A writer of samples, which an extension offers by the suffix of its files."""

    def check(self, path: Path, event_shape: Sequence[int] | None = None) -> None:
        """Refuse a file or events that cannot be written, before samples are drawn."""

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
            path: of the file.
            x: samples.
            cond: their condition ``[N, …]``.
            facts: what the flow's metadata say of its data.
            names: of labels, or none.
            notes: keyword -> text.
        """


def check_suffix(path: Path | str) -> str:
    """The suffix of ``path``, if samples can be written so.

    Raises:
        OptionError: another suffix, or none.
    """
    suffix, known = Path(path).suffix.lower(), [*OWN, *(f".{point.name}" for point in points_of(WRITERS))]
    if suffix not in known:
        raise OptionError(f"samples: cannot write '{path}'; choose a name that ends in {', '.join(known)}")
    return suffix


def writer_of(path: Path | str) -> Writer | None:
    """The writer of an extension that writes ``path``; None where it is a picture or holds arrays."""
    suffix = check_suffix(path)
    return None if suffix in OWN else load_point(WRITERS, suffix.removeprefix("."), f"writing '{path}'")()


def check_files(out: Path | None, animation: Path | None) -> None:
    """Refuse files that could not be written, before anything is loaded.

    Args:
        out: of the samples, or None.
        animation: of their way, or None.

    Raises:
        OptionError: neither of the two, or a suffix that one cannot be written as.
        FlowpriorError: a writer that cannot be loaded, or what its check refuses.
        CheckpointError: a folder that takes no file.
    """
    if out is None and animation is None:
        raise OptionError(
            "missing option '--out': give it a file for the samples, or give --animate one for their way"
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
    """Refuse events that the files could not hold, before they are generated.

    Args:
        out: of the samples, or None.
        animation: of their way, or None.
        event_shape: of one sample.
        show_prior: whether mean and samples of the prior are to be shown in ``out``.

    Raises:
        OptionError: the prior is to be shown in no picture.
        InputError: a picture of events that cannot be drawn, or cells that are no vectors.
    """
    if out is not None and (writer := writer_of(out)):
        writer.check(out, event_shape)
    picture = out is not None and check_suffix(out) in PICTURES
    if picture or animation is not None:
        check_drawable(event_shape)
    if show_prior and not picture:
        raise OptionError(f"--show-prior draws a picture, got '{out}'; choose a name that ends in .png")


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
    """Write samples ``[N, *event]`` and their condition, as the suffix says.

    ``.npz`` and ``.pt`` hold ``x`` and ``cond`` (parts of it as ``cond.NAME``), ``.h5ad`` vectors in the
    units of the data's file; names of another kind are pictures with ``title`` above.

    Args:
        path: of the file.
        x: samples.
        cond: their condition ``[N, …]``.
        title: of a picture.
        panels: what a picture shows in place of the samples and their condition alone, by name.
        names: of the rows of a picture, and of labels in cells.
        facts: what the flow's metadata say of its data, for writers of extensions.
        notes: keyword -> text, for the text chunks of a ``.png``, and for cells.

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
    elif writer := writer_of(path):
        writer.write(path, x, cond, facts=facts, names=names or (), notes=notes)
    else:
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)


def save_motion(
    path: Path, solution: Solution, rows: Tensor | None, title: str, names: Sequence[str] | None
) -> None:
    """Write the way of samples from the prior as an animation.

    Args:
        path: of the file.
        solution: with its trajectory.
        rows: which row of a picture each sample stands in, ``[N]``, or its embedding; None for no rows.
        title: of every frame.
        names: of the rows.

    Raises:
        OptionError: a suffix other than .gif.
        CheckpointError: the file cannot be written.
    """
    assert solution.trajectory is not None
    save_animation(animate(solution.trajectory, solution.times, rows, names=names, title=title), path)


def prior_panels(flow: Flow, asked: Asked, source: Tensor, x: Tensor) -> dict[str, Panel]:
    """The prior's mean for each row, source samples and samples ``[N, *event]``, named."""
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
    """What stands above a picture: whose samples these are, and all that they were drawn with but the seed.

    Args:
        run: name of the run.
        asked: for which conditions; a single label is named.
        nfe: evaluations that were spent.
        settings: of :meth:`flowprior.Flow.solve`, as they were asked for.
    """
    labels = asked.rows.unique().tolist() if asked.class_names and asked.rows is not None else []
    said = [str(asked.class_names[label]) for label in labels] if len(labels) == 1 else []
    said.append(f"{counted(nfe, 'evaluation')}, {settings['sampler']}" if nfe else "the prior alone")
    for name, plain in PLAIN.items():
        if settings[name] not in (None, plain) and (nfe or name != "guidance"):
            said.append(f"{name.replace('_', ' ')} {settings[name]:g}")
    if (negative := settings.get("negative")) is not None and nfe:
        said.append(f"away from '{negative or NAMELESS}'")
    return f"{run}: {', '.join(said)}"


def notes_of(asked: Asked, **settings: Any) -> dict[str, str]:
    """Return the text chunks of a figure: one word as it is, several as a JSON list, and the settings."""
    about = {
        name: json.dumps(words, ensure_ascii=False) if len(words) > 1 else words[0]
        for name, words in asked.words.items()
    }
    values = {**about, **settings, "flowprior": package_version()}
    return {name: str(value) for name, value in values.items() if value is not None}
