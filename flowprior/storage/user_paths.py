"""Paths that a user writes: whether they can be some, what is there; the folders of the cache and of data."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from flowprior.errors import DataNotFoundError, InputError, OptionError


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
    return expanded(written, owner)


def expanded(path: str | Path, owner: str = "path") -> Path:
    """Return a path whose ``~`` at the beginning is replaced by the home folder.

    Raises:
        OptionError: the home of somebody unknown.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise OptionError(f"{owner}: no home folder for {str(path)!r}; write the whole path") from error


def cache_folder() -> Path:
    """``$FLOWPRIOR_CACHE``, or ``~/.cache/flowprior``."""
    named = os.environ.get("FLOWPRIOR_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "flowprior"


def existing_file(path: object, owner: str, kind: str) -> Path:
    """The file at ``path``.

    Raises:
        OptionError: no path, or what cannot be one.
        DataNotFoundError: no file there, or one whose folder cannot be entered.
    """
    return _existing(path, owner, "FILE", "is_file", f"no file {{}}; pass path= an existing {kind}")


def existing_folder(path: object, owner: str, kind: str) -> Path:
    """The folder at ``path``; raises as :func:`existing_file`."""
    return _existing(
        path, owner, "FOLDER", "is_dir", f"no folder {{}}; pass path= an existing folder of {kind}"
    )


def existing_path(path: object, owner: str, kind: str) -> Path:
    """The file or folder at ``path``; raises as :func:`existing_file`."""
    return _existing(path, owner, "PATH", "exists", f"nothing at {{}}; pass path= an existing {kind}")


def data_folder(path: object, owner: str, kind: str, advice: str) -> Path:
    """The folder of a data set's files: ``path``, or without one ``$FLOWPRIOR_DATA`` and the data set's name.

    Args:
        path: as the user gave it, or None.
        owner: name of the data set.
        kind: what lies in the folder, for messages.
        advice: what to unpack in one folder.

    Raises:
        OptionError: what cannot be a path.
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
    """Return the file at ``place`` in an installed package, which is not imported.

    Raises:
        Exception: ``missing``, where there is none.
    """
    spec = importlib.util.find_spec(package)
    folders = (spec.submodule_search_locations if spec else None) or []
    for folder in folders:
        if (file := Path(folder) / place).is_file():
            return file
    raise missing


def read_lines(file: Path, limit: int | None = None) -> list[str]:
    """The lines of a text in UTF-8, a byte order mark left out.

    Raises:
        InputError: it is none, cannot be read, or has more than ``limit`` bytes.
    """
    try:
        with file.open("rb") as opened:
            data = opened.read(-1 if limit is None else limit + 1)
        if limit is not None and len(data) > limit:
            raise InputError(f"{file}: has more than {limit:,} bytes; split it")
        return data.decode("utf-8-sig").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{file}: expected text in UTF-8, got byte {error.start} of another kind; save it anew"
        ) from error
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); check the file") from error


def _existing(path: object, owner: str, example: str, what: str, problem: str) -> Path:
    if path is None:
        raise OptionError(f"{owner}: path is missing; write {owner}:path={example} or give the path itself")
    found = user_path(path, owner)
    if not is_there(found, what):
        raise DataNotFoundError(f"{owner}: {problem.format(found)}")
    return found


def is_there(path: Path, what: str) -> bool:
    """``path.is_file()``, ``is_dir()`` or ``exists()``; False where the system cannot look."""
    try:
        return getattr(path, what)()
    except OSError:
        return False
