"""Data sets in the exact formats of others, small: COCO's files, ImageNet's batches, pictures with texts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.pictures_on_disk import paint


def write_coco(root: Path, pictures: int = 4, year: int = 2017) -> Path:
    """A folder as COCO is unpacked, five captions a picture; numbers are in no order, as in COCO's files."""
    for part in ("train", "val"):
        numbers = [100 - 7 * index for index in range(pictures)]
        for number in numbers:
            paint(root / f"{part}{year}" / f"{number:012}.jpg", (number, 0, 0), (12, 8))
        annotations = [
            {
                "image_id": number,
                "id": 10 * number + place,
                "caption": f" Caption {place} of {part} {number}.\n",
            }
            for place in range(5)
            for number in numbers
        ]
        images = [
            {"id": number, "file_name": f"{number:012}.jpg", "height": 8, "width": 12} for number in numbers
        ]
        content = {"info": {}, "licenses": [], "images": images, "annotations": annotations}
        file = root / "annotations" / f"captions_{part}{year}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))
    return root


def write_imagenet64(root: Path, rows: int = 16) -> Path:
    """A batch of training images and the validation images as image-net.org has them, labels from 1 on."""
    root.mkdir(exist_ok=True)
    chance = np.random.default_rng(0)
    for name in ("train_data_batch_1", "val_data"):
        data = chance.integers(256, size=(rows, 12288), dtype=np.uint8)
        np.savez(root / f"{name}.npz", data=data, labels=np.arange(rows) % 4 + 1, mean=data.mean(0))
    return root


def write_metadata(folder: Path, captions: list, column: str = "text") -> Path:
    """A folder of Hugging Face's imagefolder, one picture of its own red for each caption."""
    lines = []
    for index, caption in enumerate(captions):
        paint(folder / f"{index:03}.png", (index, 0, 0))
        lines.append(json.dumps({"file_name": f"{index:03}.png", column: caption}, ensure_ascii=False))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def write_texts(folder: Path, captions: list[str]) -> Path:
    """The same with a .txt beside each picture."""
    for index, caption in enumerate(captions):
        picture = paint(folder / f"{index:03}.png", (index, 0, 0))
        picture.with_suffix(".txt").write_text(caption, encoding="utf-8")
    return folder
