"""The data set MS-COCO with its captions (Lin et al. 2014, Chen et al. 2015, arXiv 1504.00325)."""

from __future__ import annotations

import json
from pathlib import Path

from flowprior.data.base import DATA, Split
from flowprior.data.captions import DEFAULT_ENCODER
from flowprior.errors import DataNotFoundError, InputError
from flowprior.extensions.text.image_text import CaptionedPictures, check_caption, some
from flowprior.storage.user_paths import data_folder
from flowprior.storage.writing import one_line

PARTS = {"train": "train", "test": "val"}
"""The names of the splits at COCO, which never published the captions of its test images."""


@DATA.register("coco")
def coco(
    split: Split = "train",
    path: str | None = None,
    size: int = 256,
    encoder: str | None = DEFAULT_ENCODER,
    year: int = 2017,
) -> CaptionedPictures:
    """MS-COCO, photographs [3, size, size] in [-1, 1], conditions embed one of five captions.

    Images and captions are those of torchvision's ``CocoCaptions``, in its order: by the images' numbers,
    and captions as they stand in the file; its JSON is read without pycocotools. Of the captions of an image
    a training step gets one, drawn anew at each visit, a function of the run's seed, the epoch and the
    image; a prior is fitted to all of them; evaluation gets the first, as results on COCO are commonly
    given. Images are scaled on their shorter side and cropped at the centre.

    Args:
        split: ``"train"``, or ``"test"`` for COCO's ``val``.
        path: folder with ``annotations/captions_train2017.json``, ``annotations/captions_val2017.json`` and
            the images in ``train2017`` and ``val2017`` (or in ``images/train2017`` and so on). None takes
            ``$FLOWPRIOR_DATA/coco``.
        size: side of every event, at most 2048.
        encoder: the text encoder, by name or spec; None leaves the images without a condition.
        year: the year of the release, 2014 or 2017.

    Raises:
        DataNotFoundError: no such files; the message says what to put where.
        InputError: no COCO file of captions, or images that lack captions, files or both.
        OptionError: impossible options, or an encoder that is not there.
    """
    advice = f"unpack annotations_trainval{year}.zip, train{year}.zip and val{year}.zip of cocodataset.org in"
    root = data_folder(path, "coco", "annotations and images", f"{advice} one folder")
    part = f"{PARTS[split]}{year}"
    annotations = root / "annotations" / f"captions_{part}.json"
    folder = next((place for place in (root / part, root / "images" / part) if place.is_dir()), root / part)
    if not annotations.is_file() or not folder.is_dir():
        missing = folder if annotations.is_file() else annotations
        raise DataNotFoundError(f"coco: no {missing}; {advice} {root}")
    names, captions = read_coco(annotations)
    files = [folder / name for name in names]
    absent = [file for file in files if not file.is_file()]
    if absent:
        raise InputError(
            f"{annotations}: {some(absent, 'image')} no file in {folder}; unpack the images again"
        )
    return CaptionedPictures(files, captions, encoder, name="coco", size=size)


def read_coco(file: Path) -> tuple[list[str], list[tuple[str, ...]]]:
    """Read the file names ``[N]`` and captions ``[N]`` of the images in a ``captions_*.json``.

    Raises:
        InputError: none of COCO's captions, or images and captions that do not belong together.
    """
    try:
        stored = json.loads(file.read_bytes())
        names = dict(sorted((int(image["id"]), str(image["file_name"])) for image in stored["images"]))
        texts = [(int(entry["image_id"]), entry["caption"]) for entry in stored["annotations"]]
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise InputError(
            f"{file}: expected COCO's captions, an object with lists 'images' and 'annotations', got another "
            f"file ({type(error).__name__}: {one_line(error)}); pass COCO's captions_*.json"
        ) from error
    impossible = [name for name in names.values() if Path(name).name != name or name in ("", "..")]
    if impossible or not names:
        raise InputError(
            f"{file}: expected names of files in its images, got {impossible[0] if impossible else 'none'!r}"
        )
    captions: dict[int, list[str]] = {number: [] for number in names}
    for number, text in texts:
        if number not in captions:
            raise InputError(
                f"{file}: caption without its image, no image has the number {number}; download the file "
                "again"
            )
        captions[number].append(check_caption(text, f"{file}, image {number}"))
    lacking = [Path(names[number]) for number, found in captions.items() if not found]
    if lacking:
        raise InputError(f"{file}: {some(lacking, 'image')} no caption; download the file again")
    return list(names.values()), [tuple(found) for found in captions.values()]
