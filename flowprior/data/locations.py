"""Which data set a path on disk stands for."""

from __future__ import annotations

from pathlib import Path

from flowprior.data.picture_files import SUFFIXES
from flowprior.storage.user_paths import is_there, user_path

METADATA = "metadata.jsonl"
"""Captions of a folder's pictures, as Hugging Face's imagefolder has them."""
DATA_SET_OF_SUFFIX = {
    ".npz": "arrays",
    ".pt": "arrays",
    ".h5ad": "cells",
    ".npy": "latents",
    ".tar": "shards",
}
DATA_SET_OF_CONTENT = {
    "annotations/captions_*.json": "coco",
    "train_data_batch_*.npz": "imagenet64",
    "val_data.npz": "imagenet64",
    "dataset_dict.json": "huggingface",
    "data-*.arrow": "huggingface",
    "latents.npy": "latents",
    "latents-*.npy": "latents",
    "train/latents.npy": "latents",
    "train/latents-*.npy": "latents",
}
"""What a folder holds, as a pattern of paths, and the data set that reads it."""


def data_set_of_path(text: str) -> str | None:
    """Name of the data set that reads the path ``text``, or None where it is no path of ours.

    ``.npz`` and ``.pt`` files are arrays, ``.h5ad`` files cells, ``.npy`` files latents and ``.tar`` files
    shards, whether they exist or not. An existing folder is known by what lies in it: COCO's annotations, the
    batches of ImageNet at 64 pixels, what Hugging Face's ``save_to_disk`` wrote, shards, latents, pictures
    with texts (the last three also in its sub-folder ``train``), else pictures.

    Raises:
        OptionError: ``text`` cannot be a path; see :func:`user_path`.
    """
    path = user_path(text, "data")
    by_suffix = DATA_SET_OF_SUFFIX.get(path.suffix.lower())
    return by_suffix or (_data_set_of_folder(path) if is_there(path, "is_dir") else None)


def _data_set_of_folder(folder: Path) -> str:
    for pattern, name in DATA_SET_OF_CONTENT.items():
        if next(folder.glob(pattern), None) is not None:
            return name
    if _has_shards(folder) or _has_shards(folder / "train"):
        return "shards"
    return "image-text" if _has_texts(folder) or _has_texts(folder / "train") else "folder"


def _has_shards(folder: Path) -> bool:
    """Whether there are shards, and neither pictures nor sub-folders that may hold some."""
    if not is_there(folder, "is_dir") or next(folder.glob("*.tar"), None) is None:
        return False
    others = (path for path in folder.iterdir() if not path.name.startswith("."))
    return not any(path.suffix.lower() in SUFFIXES or is_there(path, "is_dir") for path in others)


def _has_texts(folder: Path) -> bool:
    """Whether there are captions: a ``metadata.jsonl``, or a picture with a ``.txt`` of its name."""
    if is_there(folder / METADATA, "is_file"):
        return True
    texts = folder.glob("*.txt")
    return any(is_there(text.with_suffix(suffix), "is_file") for text in texts for suffix in SUFFIXES)
