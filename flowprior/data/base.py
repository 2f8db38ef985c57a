"""The registry of data sets, the data set that a name, path or value stands for, and its description."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from torch.utils.data import Dataset, IterableDataset

from flowprior.conditions.rows import named_tensors
from flowprior.data.picture_files import SUFFIXES
from flowprior.errors import DataNotFoundError, InputError, OptionError
from flowprior.registry import Registry, Spec
from flowprior.registry.options import check_counts, check_numbers, choose
from flowprior.storage.digests import tensor_bytes
from flowprior.storage.user_paths import is_there, user_path
from flowprior.streams.data import Data
from flowprior.streams.datasets import data_of_dataset
from flowprior.streams.user_tensors import PICTURE_CHANNELS, is_array, tensor_data

DATA: Registry[Data] = Registry("data set", "flowprior.data", Data)
Split = Literal["train", "test"]
NAMED = 3
"""The number of left-out records that a flow's description names."""
MOST_NAMES = 1000
"""The largest number of classes whose names a flow keeps."""
HIGHEST_SEED = 1 << 62
"""The number that every seed of a data set has to be below."""
MOST_SIDE = 2048
"""The largest side of an image as a data sample, in pixels."""
METADATA = "metadata.jsonl"
"""The file of a folder's captions, in the format of Hugging Face's imagefolder."""
DATA_SET_OF_SUFFIX = {
    ".npz": "arrays",
    ".pt": "arrays",
    ".h5ad": "cells",
    ".npy": "latents",
    ".tar": "shards",
}
"""The data set that reads a file, by the suffix of its name."""
DATA_SET_OF_CONTENT = {
    "annotations/captions_*.json": "coco",
    "dataset_dict.json": "huggingface",
    "data-*.arrow": "huggingface",
    **{
        f"{folder}{name}.npy": "latents"
        for folder in ("", "train/")
        for name in ("latents", "latents-*", "x", "x-*")
    },
}
"""The data set that reads a folder, by the pattern of a path in the folder."""


def load_data(spec: str, split: Split = "train", **options: Any) -> Data:
    """Load a data set by name, spec string or path.

    Args:
        spec: ``"digits"``, ``"fashion-mnist:root=/data"``; a path that ends in .npz, .pt, .npy, .tar or
            .h5ad; or an existing folder of images, shards, latents or a Hugging Face data set.
        split: ``"train"`` or ``"test"``.
        options: further options of the data set.

    Raises:
        UnknownComponentError: no such data set.
        DataNotFoundError: its files are missing; the message names the package or argument that gives them.
        InputError: its files are corrupt, or hold NaN or infinite numbers.
    """
    parsed = _parse(spec)
    given: dict[str, Any] = {"split": split, **parsed.options, **options}
    _check_shared(parsed.name, given)
    data = DATA.create(parsed.name, **given)
    data.split = str(given["split"])
    data.spec = spec if data.split == "train" and not options else None
    return data


def _check_shared(owner: str, options: Mapping[str, Any]) -> None:
    """Check the options of one name, whose meaning and range are the same in every data set that has them.

    Raises:
        OptionError: a value out of range.
    """
    choose("data", "split", options["split"], ["train", "test"])
    check_counts(owner, 0, HIGHEST_SEED - 1, seed=options.get("seed", 0))
    check_numbers(owner, test_fraction=(options.get("test_fraction", 0), 0, 1))
    for option in ("size", "input_size"):
        if options.get(option) is not None:
            check_counts(owner, 1, MOST_SIDE, **{option: options[option]})
    if options.get("channels", 3) not in PICTURE_CHANNELS:
        raise OptionError(f"{owner}: channels={options['channels']!r} is not possible; choose 1 or 3")


def _parse(spec: str) -> Spec:
    """Return the spec of a data set; a path gives the one that reads it, unless a data set has that name."""
    if not isinstance(spec, str):
        raise OptionError(f"data: expected a name, spec string or path, got {type(spec).__name__}")
    known = DATA.knows(spec.partition(":")[0])
    reader = None if known else data_set_of_path(spec)
    if reader is not None:
        return Spec(reader, {"path": spec})
    if not known and is_there(user_path(spec, "data"), "is_file"):
        raise DataNotFoundError(
            f"data: {spec} is a file of an unknown kind; expected a folder, .npz, .pt, .npy, .tar or .h5ad"
        )
    if "/" in spec.partition(":")[0]:
        raise DataNotFoundError(f"data: no folder {spec}; expected a folder, .npz, .pt, .npy, .tar or .h5ad")
    return DATA.parse(spec)


def as_data(value: Any) -> Data:
    """Turn ``value`` into a :class:`Data`.

    Args:
        value: a Data (returned as it is); a name, spec string or path (its training split, see
            :func:`load_data`); events as a tensor or numpy array ``[N, *event]``; a pair (events,
            condition) of these, or with source samples ``[N, *event]`` a triple (events, condition or None,
            source samples); or a map-style torch Dataset.

    Raises:
        InputError: something else, or tensors that do not fit together or are not finite.
    """
    if isinstance(value, Data):
        return value
    if isinstance(value, (str, os.PathLike)):
        return load_data(os.fspath(value))
    if is_array(value):
        return tensor_data(value)
    if isinstance(value, (tuple, list)) and 1 <= len(value) <= 3 and is_array(value[0]):
        return tensor_data(*value)
    if isinstance(value, Dataset) and hasattr(value, "__len__"):
        return data_of_dataset(value)
    if isinstance(value, IterableDataset):
        raise InputError(
            f"data: expected a map-style torch Dataset, got {type(value).__name__}, a stream, in which a "
            "resumed run cannot find its place; write it to .tar shards and use the data set 'shards'"
        )
    raise InputError(
        "data: expected a data set's name or path, a tensor [N, *event], a pair (x, cond) or a map-style "
        f"torch Dataset, got {type(value).__name__}"
    )


def data_digest(data: Data) -> str:
    """Return the sha256 over all data samples and conditions, in one pass over the data."""
    digest = hashlib.sha256(f"{data.condition} {list(data.event_shape)} {len(data)}".encode())
    for x, cond in data.batches():
        digest.update(tensor_bytes(x.float()))
        for tensor in named_tensors(cond).values():
            digest.update(tensor_bytes(tensor))
    return digest.hexdigest()


def data_facts(data: Data) -> dict[str, Any]:
    """Return the description of a data set that a flow keeps.

    It has the name, split, size, shape, condition, names of classes and numbers, and licences; the number of
    captions; and, if corrupt records were left out, their number and the names of the first ones.

    Args:
        data: the training data; for a flow in latents, the encoded data.

    Returns:
        Plain JSON values; a key whose value is not known is left out.
    """
    names = data.class_names
    facts: dict[str, Any] = {
        "name": data.name,
        "split": data.split,
        "examples": len(data),
        "event_shape": list(data.event_shape),
        "is_image": data.is_image,
        "condition": data.condition.describe(),
        "captions": None if data.captions is None else {"count": len(set(data.captions))},
        "class_names": list(names) if names is not None and len(names) <= MOST_NAMES else None,
        "annotation": None if data.annotation is None else data.annotation.as_dict(),
        "licences": sorted(data.licences),
        "corrupt_records": {"count": len(data.corrupt), "first": list(data.corrupt)[:NAMED]}
        if data.corrupt
        else None,
    }
    return {name: value for name, value in facts.items() if value not in (None, [])}


def data_set_of_path(text: str) -> str | None:
    """Return the name of the data set that reads the path ``text``, or None if no data set does.

    ``.npz`` and ``.pt`` files are arrays, ``.h5ad`` files cells, ``.npy`` files latents and ``.tar`` files
    shards, whether they exist or not. An existing folder is known by what lies in it: COCO's annotations, the
    batches of ImageNet at 64 pixels, what Hugging Face's ``save_to_disk`` wrote, shards, latents, images
    with texts (the last three also in its sub-folder ``train``), else images.

    Raises:
        OptionError: ``text`` cannot be a path; see :func:`user_path`.
    """
    path = user_path(text, "data")
    by_suffix = DATA_SET_OF_SUFFIX.get(path.suffix.lower())
    if by_suffix or not is_there(path, "is_dir"):
        return by_suffix
    for pattern, name in DATA_SET_OF_CONTENT.items():
        if next(path.glob(pattern), None) is not None:
            return name
    if _has_shards(path) or _has_shards(path / "train"):
        return "shards"
    return "image-text" if _has_texts(path) or _has_texts(path / "train") else "folder"


def _has_shards(folder: Path) -> bool:
    """Return whether there are shards, and neither images nor sub-folders that may hold some."""
    if not is_there(folder, "is_dir") or next(folder.glob("*.tar"), None) is None:
        return False
    others = (path for path in folder.iterdir() if not path.name.startswith("."))
    return not any(path.suffix.lower() in SUFFIXES or is_there(path, "is_dir") for path in others)


def _has_texts(folder: Path) -> bool:
    """Return whether there are captions: a ``metadata.jsonl``, or an image with a ``.txt`` of its name."""
    images = (text.with_suffix(suffix) for text in folder.glob("*.txt") for suffix in SUFFIXES)
    return is_there(folder / METADATA, "is_file") or any(is_there(file, "is_file") for file in images)
