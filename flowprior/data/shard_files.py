"""Which ``.tar`` files a user means by a folder, a file or a pattern, and which of them are which split."""

from __future__ import annotations

import re
from glob import glob
from pathlib import Path

from flowprior.data.base import Split
from flowprior.data.folder import TEST_FOLDERS, own_split
from flowprior.data.shard_unpacking import import_webdataset
from flowprior.errors import DataNotFoundError, OptionError
from flowprior.storage.user_paths import is_there, user_path

ENDING = ".tar"


def shard_files(path: str | None, split: Split) -> tuple[list[Path], list[Path] | None]:
    """(shards of ``split``, shards of the training split where there are own ones for both, else None).

    Args:
        path: a folder of ``.tar`` files; one file; or a pattern with ``*`` or, as webdataset writes it,
            ``{0000..0127}``. A folder with sub-folders ``train`` and ``test`` (or ``val``, ``validation``)
            has own splits, and so have shards with these words in their names, as ``train-0001.tar``.
        split: ``"train"`` or ``"test"``.

    Raises:
        OptionError: no path, or one that is no place on this machine.
        DataNotFoundError: no shards there.
    """
    if path is None:
        raise OptionError("shards: path is missing; write shards:path=FOLDER or give the path itself")
    if "://" in str(path) or str(path).startswith("pipe:"):
        raise OptionError(
            f"shards: {path} is a stream; put the shards on this machine or a file system that it shares"
        )
    root = user_path(path, "shards")
    own = own_split(root, split) if is_there(root, "is_dir") else None
    if own is not None:
        train = _of_folder(root / "train")
        return (train if split == "train" else _of_folder(own)), train
    found = _of_folder(root) if is_there(root, "is_dir") else _of_pattern(root)
    train = [file for file in found if _is_of(file, ("train",))]
    test = [file for file in found if _is_of(file, TEST_FOLDERS)]
    if train and test:
        return (train if split == "train" else test), train
    return found, None


def _is_of(file: Path, words: tuple[str, ...]) -> bool:
    """Whether one of the words is part of the file's name."""
    return not set(re.split(r"[-_.\d]+", file.stem.lower())).isdisjoint(words)


def _of_folder(folder: Path) -> list[Path]:
    found = sorted(file for file in folder.glob(f"*{ENDING}") if is_there(file, "is_file"))
    if not found:
        raise DataNotFoundError(f"shards: no {ENDING} files in {folder}; put uncompressed shards there")
    return found


def _of_pattern(pattern: Path) -> list[Path]:
    """The file of that name, or the files that the pattern names."""
    if is_there(pattern, "is_file"):
        return [pattern]
    webdataset = import_webdataset()
    try:
        names = webdataset.SimpleShardList(str(pattern)).urls
    except ValueError as error:
        raise OptionError(
            f"shards: {pattern} is no pattern ({error}); write one such as train-{{0000..0127}}.tar"
        ) from error
    found = []
    for name in names:
        matches = sorted(glob(name)) if set("*?[") & set(name) else [name]
        files = [Path(match) for match in matches if is_there(Path(match), "is_file")]
        if not files:
            raise DataNotFoundError(
                f"shards: no file {name}; pass path= a folder of {ENDING} files, one of them, or a pattern "
                "such as train-*.tar or train-{0000..0127}.tar"
            )
        found += files
    return list(dict.fromkeys(found))
