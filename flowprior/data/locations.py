"""Which data set a path on disk stands for, and whether a path that a user gives can be one."""

from __future__ import annotations

from pathlib import Path

from flowprior.data.picture_files import SUFFIXES
from flowprior.errors import DataNotFoundError, OptionError

METADATA = "metadata.jsonl"
"""Captions of a folder's pictures, as Hugging Face's imagefolder has them."""
DATA_SET_OF_SUFFIX = {".npz": "arrays", ".pt": "arrays", ".h5ad": "cells"}
DATA_SET_OF_CONTENT = {
    "annotations/captions_*.json": "coco",
    "train_data_batch_*.npz": "imagenet64",
    "val_data.npz": "imagenet64",
}
"""What a folder holds, as a pattern of paths, and the data set that reads it."""


def data_set_of_path(text: str) -> str | None:
    """Name of the data set that reads the path ``text``, or None where it is no path of ours.

    ``.npz`` and ``.pt`` files are arrays and ``.h5ad`` files cells, whether they exist or not. An existing
    folder is known by what lies in it: COCO's annotations, the batches of ImageNet at 64 pixels, pictures
    with texts (also in its sub-folder ``train``), else pictures.

    Raises:
        OptionError: ``text`` cannot be a path; see :func:`user_path`.
    """
    path = user_path(text, "data")
    by_suffix = DATA_SET_OF_SUFFIX.get(path.suffix.lower())
    return by_suffix or (_data_set_of_folder(path) if _is(path, "is_dir") else None)


def _data_set_of_folder(folder: Path) -> str:
    for pattern, name in DATA_SET_OF_CONTENT.items():
        if next(folder.glob(pattern), None) is not None:
            return name
    return "image-text" if _has_texts(folder) or _has_texts(folder / "train") else "folder"


def _has_texts(folder: Path) -> bool:
    """Whether there are captions: a ``metadata.jsonl``, or a picture with a ``.txt`` of its name."""
    if _is(folder / METADATA, "is_file"):
        return True
    texts = folder.glob("*.txt")
    return any(_is(text.with_suffix(suffix), "is_file") for text in texts for suffix in SUFFIXES)


def user_path(text: object, owner: str) -> Path:
    """The path that a user wrote, its ``~`` replaced by the home folder.

    Raises:
        OptionError: an empty text, a NUL character, or the home of somebody unknown.
    """
    written = str(text)
    if not written.strip():
        raise OptionError(f"{owner}: expected a name or a path, got an empty text; write . for this folder")
    if "\0" in written:
        raise OptionError(f"{owner}: expected a path, got one with a NUL character: {written!r}")
    try:
        return Path(written).expanduser()
    except RuntimeError as error:
        raise OptionError(f"{owner}: no home folder for {written!r}; write the whole path") from error


def existing_file(path: object, owner: str, kind: str) -> Path:
    """The file at ``path``.

    Raises:
        OptionError: no path, or what cannot be one.
        DataNotFoundError: no file there, or one whose folder cannot be entered.
    """
    file = _given(path, owner, "FILE")
    if not _is(file, "is_file"):
        raise DataNotFoundError(f"{owner}: no file {file}; pass path= an existing {kind}")
    return file


def existing_folder(path: object, owner: str, kind: str) -> Path:
    """The folder at ``path``; raises as :func:`existing_file`."""
    folder = _given(path, owner, "FOLDER")
    if not _is(folder, "is_dir"):
        raise DataNotFoundError(f"{owner}: no folder {folder}; pass path= an existing folder of {kind}")
    return folder


def _given(path: object, owner: str, example: str) -> Path:
    if path is None:
        raise OptionError(f"{owner}: path is missing; write {owner}:path={example} or give the path itself")
    return user_path(path, owner)


def _is(path: Path, what: str) -> bool:
    """``path.is_file()`` or ``path.is_dir()``; False where the system cannot look, as at too long a name."""
    try:
        return getattr(path, what)()
    except OSError:
        return False
