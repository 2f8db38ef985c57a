"""MS-COCO and its captions (Lin et al. 2014, arXiv 1405.0312; Chen et al. 2015, arXiv 1504.00325)."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from flowprior.data.base import DATA, Split
from flowprior.data.caption_files import check_caption, some
from flowprior.data.captioned import DEFAULT_ENCODER, CaptionedPictures
from flowprior.data.folder import check_shape
from flowprior.data.splits import check_split
from flowprior.errors import DataNotFoundError, InputError
from flowprior.storage.user_paths import existing_folder

PARTS = {"train": "train", "test": "val"}
"""COCO's names of the splits; the captions of its test pictures were never published."""


@DATA.register("coco")
def coco(
    split: Split = "train",
    path: str | None = None,
    size: int = 256,
    encoder: str | None = DEFAULT_ENCODER,
    year: int = 2017,
) -> CaptionedPictures:
    """MS-COCO, photographs [3, size, size] in [-1, 1], conditions embed one of five captions.

    Pictures and captions are those of torchvision's ``CocoCaptions``, in its order: by the pictures' numbers,
    and captions as they stand in the file; its JSON is read without pycocotools. Of the captions of a picture
    a training step gets one, drawn anew at each visit, a function of the run's seed, the epoch and the
    picture; a prior is fitted to all of them; evaluation gets the first, as results on COCO are commonly
    given. Pictures are scaled on their shorter side and cropped at the centre.

    Args:
        split: ``"train"``, or ``"test"`` for COCO's ``val``.
        path: folder with ``annotations/captions_train2017.json``, ``annotations/captions_val2017.json`` and
            the pictures in ``train2017`` and ``val2017`` (or in ``images/train2017`` and so on). None takes
            ``$FLOWPRIOR_DATA/coco``.
        size: side of every event, at most 2048.
        encoder: of the captions, by name or spec; None leaves the pictures without a condition.
        year: of the release, 2014 or 2017.

    Raises:
        DataNotFoundError: no such files; the message says what to put where.
        InputError: no COCO file of captions, or pictures that lack captions, files or both.
        OptionError: impossible options, or an encoder that is not there.
    """
    check_split(split)
    check_shape("coco", size, 3)
    root = _root(path)
    part = f"{PARTS[split]}{year}"
    annotations = root / "annotations" / f"captions_{part}.json"
    folder = next((place for place in (root / part, root / "images" / part) if place.is_dir()), root / part)
    if not annotations.is_file() or not folder.is_dir():
        missing = folder if annotations.is_file() else annotations
        raise DataNotFoundError(f"coco: no {missing}; unpack {_archives(year)} of cocodataset.org in {root}")
    names, captions = read_coco(annotations)
    files = [folder / name for name in names]
    absent = [file for file in files if not file.is_file()]
    if absent:
        raise InputError(
            f"{annotations}: {some(absent, 'picture')} no file in {folder}; unpack the pictures again"
        )
    return CaptionedPictures(files, captions, encoder, name="coco", size=(size, size))


def read_coco(file: Path) -> tuple[list[str], list[tuple[str, ...]]]:
    """File names ``[N]`` and captions ``[N]`` of the pictures in a ``captions_*.json``.

    Raises:
        InputError: no JSON, none of COCO's captions, or pictures and captions that do not belong together.
    """
    stored = _read(file)
    names: dict[int, str] = {}
    for image in stored["images"]:
        number, name = _values(image, {"id": int, "file_name": str}, file, "images")
        if number in names:
            raise InputError(f"{file}: the picture {number} is there twice; download the file again")
        if Path(name).name != name or name in ("", ".."):
            raise InputError(f"{file}: expected the name of a file, got {name!r} for the picture {number}")
        names[number] = name
    captions: dict[int, list[str]] = {number: [] for number in sorted(names)}
    for annotation in stored["annotations"]:
        number, text = _values(annotation, {"image_id": int, "caption": str}, file, "annotations")
        if number not in captions:
            raise InputError(f"{file}: caption without its picture, there is none of number {number}")
        captions[number].append(check_caption(text, f"{file}, picture {number}"))
    lacking = [Path(names[number]) for number, texts in captions.items() if not texts]
    if lacking:
        raise InputError(f"{file}: {some(lacking, 'picture')} no caption; download the file again")
    _refuse_doubles(list(names.values()), file)
    return [names[number] for number in captions], [tuple(texts) for texts in captions.values()]


def _root(path: str | None) -> Path:
    if path is not None:
        return existing_folder(path, "coco", "annotations and pictures")
    named = os.environ.get("FLOWPRIOR_DATA")
    if not named:
        raise DataNotFoundError(
            f"coco: path is missing; unpack {_archives(2017)} of cocodataset.org in one folder, and pass "
            "path= that folder, or set $FLOWPRIOR_DATA to the one above it, where it is named coco"
        )
    return Path(named).expanduser() / "coco"


def _archives(year: int) -> str:
    return f"annotations_trainval{year}.zip, train{year}.zip and val{year}.zip"


def _read(file: Path) -> dict[str, Any]:
    expected = "expected COCO's captions, an object with lists 'images' and 'annotations'"
    try:
        stored = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:100]
        raise InputError(
            f"{file}: {expected}, got what cannot be read ({reason}); download it again"
        ) from error
    lists = [name for name in ("images", "annotations") if isinstance(stored, dict) and name in stored]
    if len(lists) < 2 or not all(isinstance(stored[name], list) and stored[name] for name in lists):
        held = ", ".join(map(str, list(stored)[:5])) if isinstance(stored, dict) else type(stored).__name__
        raise InputError(f"{file}: {expected}, got {held or 'an empty one'}; pass COCO's captions_*.json")
    return stored


def _values(entry: Any, kinds: dict[str, type], file: Path, where: str) -> list[Any]:
    """The values of an entry, each of its type."""
    for name, kind in kinds.items():
        found = entry.get(name) if isinstance(entry, dict) else entry
        if not isinstance(entry, dict) or type(found) is not kind:
            expected = {int: "a whole number", str: "a text"}[kind]
            raise InputError(
                f"{file}: expected {expected} as '{name}' in every one of its {where}, got "
                f"{str(found)[:40]!r}; pass COCO's captions_*.json"
            )
    return [entry[name] for name in kinds]


def _refuse_doubles(names: list[str], file: Path) -> None:
    double = next((name for name, count in Counter(names).items() if count > 1), None)
    if double is not None:
        raise InputError(f"{file}: two pictures are named {double}; download the file again")
