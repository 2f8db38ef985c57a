"""Folders that Hugging Face's ``save_to_disk`` wrote: which split is read, and what its columns hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flowprior.data.base import Split
from flowprior.data.folder import TEST_FOLDERS
from flowprior.errors import DataNotFoundError, InputError, pip_install
from flowprior.storage.writing import one_line


def saved_splits(folder: Path, split: Split) -> tuple[Any, Any | None]:
    """(the data set of ``split``, that of the training split where there are own ones for both, else None).

    Raises:
        DataNotFoundError: ``datasets`` is not installed.
        InputError: no such folder's contents, or damaged ones.
    """
    saved = _load(folder)
    if not isinstance(saved, Mapping):
        return saved, None
    test = next((saved[name] for name in TEST_FOLDERS if name in saved), None)
    if "train" in saved and test is not None:
        return (saved["train"] if split == "train" else test), saved["train"]
    if len(saved) == 1 or "train" in saved:
        return saved.get("train", next(iter(saved.values()))), None
    raise InputError(
        f"{folder}: expected a split named train, got {', '.join(map(str, saved)) or 'none'}; give the "
        "folder of one split"
    )


def _load(folder: Path) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise DataNotFoundError(
            f"huggingface: reading what save_to_disk wrote needs datasets; run `{pip_install('datasets')}`"
        ) from error
    try:
        return datasets.load_from_disk(str(folder))
    except Exception as error:  # datasets and pyarrow raise a dozen kinds for damaged files
        raise InputError(
            f"{folder}: cannot be read as a Hugging Face data set ({one_line(error)}); write it with "
            "Dataset.save_to_disk"
        ) from error


def column_values(dataset: Any, column: str) -> list[Any]:
    """All values of one column; None where a row has none."""
    return dataset.with_format("arrow", columns=[column])[:].column(column).to_pylist()
