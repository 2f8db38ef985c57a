"""Paths that a user writes: their checks, and the folders of the cache and of data sets."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from flowprior.errors import DataNotFoundError, OptionError


def user_path(text: object, owner: str) -> Path:
    """Return the path that a user wrote, with ``~`` replaced by the home folder.

    Raises:
        OptionError: an empty text, a NUL character, or the home folder of an unknown user.
    """
    written = str(text)
    if not written.strip():
        raise OptionError(f"{owner}: expected a name or a path, got an empty text; write . for this folder")
    if "\0" in written:
        raise OptionError(f"{owner}: expected a path, got one with a NUL character: {written!r}")
    return expanded(written, owner)


def expanded(path: str | Path, owner: str = "path") -> Path:
    """Return a path with the ``~`` at its beginning replaced by the home folder.

    Raises:
        OptionError: the home folder of an unknown user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise OptionError(f"{owner}: no home folder for {str(path)!r}; write the whole path") from error


def cache_folder() -> Path:
    """Return the folder of the cache: ``$FLOWPRIOR_CACHE``, else ``~/.cache/flowprior``."""
    named = os.environ.get("FLOWPRIOR_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "flowprior"


def existing_file(path: object, owner: str, kind: str) -> Path:
    """Return the file at ``path``, which has to exist.

    Args:
        path: as the user wrote it, or None.
        owner: the data set or option that needs the file, for messages.
        kind: the kind of file, for messages.

    Raises:
        OptionError: no path, or a text that is no path.
        DataNotFoundError: no file there, or one in a folder that cannot be entered.
    """
    return _existing(path, owner, "FILE", "is_file", f"no file {{}}; pass path= an existing {kind}")


def existing_folder(path: object, owner: str, kind: str) -> Path:
    """Return the folder at ``path``, which has to exist; arguments and errors as :func:`existing_file`."""
    return _existing(
        path, owner, "FOLDER", "is_dir", f"no folder {{}}; pass path= an existing folder of {kind}"
    )


def existing_path(path: object, owner: str, kind: str) -> Path:
    """Return the file or folder at ``path``; arguments and errors as :func:`existing_file`."""
    return _existing(path, owner, "PATH", "exists", f"nothing at {{}}; pass path= an existing {kind}")


def data_folder(path: object, owner: str, kind: str, advice: str) -> Path:
    """Return the folder of a data set's files: ``path``, else the one of its name in ``$FLOWPRIOR_DATA``.

    Args:
        path: as the user wrote it, or None.
        owner: the name of the data set.
        kind: the contents of the folder, for messages.
        advice: which archives to unpack into one folder, for messages.

    Raises:
        OptionError: a text that is no path.
        DataNotFoundError: no such folder, or neither a path nor ``$FLOWPRIOR_DATA``.
    """
    if path is not None:
        return existing_folder(path, owner, kind)
    named = os.environ.get("FLOWPRIOR_DATA")
    if not named:
        raise DataNotFoundError(
            f"{owner}: path is missing; {advice}, and pass path= that folder, or set $FLOWPRIOR_DATA to the "
            f"one above it, where it is named {owner}"
        )
    return Path(named).expanduser() / owner


def package_file(package: str, place: str, missing: Exception) -> Path:
    """Return the file at ``place`` in an installed package without importing the package.

    Raises:
        Exception: ``missing``, if there is no such file.
    """
    spec = importlib.util.find_spec(package)
    folders = (spec.submodule_search_locations if spec else None) or []
    for folder in folders:
        if (file := Path(folder) / place).is_file():
            return file
    raise missing


def _existing(path: object, owner: str, example: str, what: str, problem: str) -> Path:
    if path is None:
        raise OptionError(f"{owner}: path is missing; write {owner}:path={example} or give the path itself")
    found = user_path(path, owner)
    if not is_there(found, what):
        raise DataNotFoundError(f"{owner}: {problem.format(found)}")
    return found


def is_there(path: Path, what: str) -> bool:
    """Return ``path.is_file()``, ``is_dir()`` or ``exists()``; False if the system refuses to look."""
    try:
        return getattr(path, what)()
    except OSError:
        return False
