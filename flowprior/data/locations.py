"""Which data set a path on disk stands for."""

from __future__ import annotations

from pathlib import Path

DATA_SET_OF_SUFFIX = {".npz": "arrays", ".pt": "arrays", ".h5ad": "cells"}


def data_set_of_path(text: str) -> str | None:
    """Name of the data set that reads the path ``text``, or None where it is no path of ours.

    ``.npz`` and ``.pt`` files are arrays and ``.h5ad`` files cells, whether they exist or not; an
    existing folder is a folder of pictures.
    """
    path = Path(text).expanduser()
    by_suffix = DATA_SET_OF_SUFFIX.get(path.suffix.lower())
    return by_suffix or ("folder" if path.is_dir() else None)
