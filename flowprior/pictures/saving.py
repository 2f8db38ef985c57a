"""Figures to files, written in one move, and to bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from flowprior.errors import CheckpointError
from flowprior.storage.writing import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".svg", ".pdf")
"""The suffixes of a figure's file."""
_UNDATED = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
"""Metadata without a date: the same figure gives the same file."""
_STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "flowprior", "pdf.fonttype": 42}
"""Text stays text, in a PDF in TrueType as journals ask for; an SVG's ids are the same every time."""
_STYLING = Lock()
"""Settings of matplotlib are those of all threads."""


def save_figure(figure: Figure, path: Path | str, notes: Mapping[str, str] | None = None) -> None:
    """Write ``figure`` to ``path``; its suffix decides the format, and its folder is made.

    Files bear no date, and in ``.svg`` and ``.pdf`` text is text, which can be searched and edited.

    Args:
        figure: of this package.
        path: of the file.
        notes: keyword -> text, written into the text chunks of a ``.png``; other formats go without.

    Raises:
        CheckpointError: the file cannot be written, or ends in something else than :data:`SUFFIXES`.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise CheckpointError(f"cannot write {path}; choose a name that ends in {', '.join(SUFFIXES)}")
    with replacing(path, keep_suffix=True) as temporary:
        _write(figure, temporary, path.suffix[1:].lower(), notes)


def figure_bytes(figure: Figure, kind: str = "png") -> bytes:
    """The file that :func:`save_figure` would write, of ``kind`` png, jpg, webp, svg or pdf."""
    buffer = io.BytesIO()
    _write(figure, buffer, kind)
    return buffer.getvalue()


def _write(figure: Figure, target: Any, kind: str, notes: Mapping[str, str] | None = None) -> None:
    from matplotlib import rc_context

    options: dict[str, Any] = {"pil_kwargs": {"optimize": True}} if kind == "png" else {}  # a tenth smaller
    metadata: dict[str, Any] | None = dict(notes) if notes and kind == "png" else _UNDATED.get(kind)
    options |= {"format": kind, "facecolor": "white", "metadata": metadata}
    with _STYLING, rc_context(_STYLE):
        figure.savefig(target, **options)
