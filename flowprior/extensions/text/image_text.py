"""The data set of captioned images in a folder: a text file for each image, or one file of lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from flowprior.data.base import DATA, METADATA, Split
from flowprior.data.captions import DEFAULT_ENCODER, CaptionedData, split_by_caption
from flowprior.data.folder import FolderData, own_split, pictures_of
from flowprior.data.picture_files import picture_size, read_each
from flowprior.errors import DataNotFoundError, InputError
from flowprior.models import TextEncoder
from flowprior.storage.reading import read_lines
from flowprior.storage.user_paths import existing_folder, is_there

LONGEST = 100_000
"""The largest number of characters of a caption."""
_NAMED = 3
"""The number of files that a message names."""
Captioned = dict[Path, tuple[str, ...]]
"""The captions of each image."""


@DATA.register("image-text")
def image_text(
    split: Split = "train",
    path: str | None = None,
    size: int | None = None,
    channels: int = 3,
    encoder: str | None = DEFAULT_ENCODER,
    column: str = "text",
    test_fraction: float = 0.1,
    seed: int = 0,
) -> CaptionedPictures:
    """Captioned images in a folder, [channels, size, size] in [-1, 1]; conditions embed the captions.

    The captions are those of ``metadata.jsonl``, as Hugging Face's imagefolder has it, one object a line with
    ``file_name`` and ``text``; or, where there is none, those of a ``.txt`` beside each image, whose whole
    text is one caption. Every image has a caption and every caption its image. Captions may be empty (the
    null condition), in any script, and up to 100,000 characters long; what an encoder reads of a
    long one is its own affair. A list of texts in place of one is several captions of an image, of which
    training draws one at each visit and evaluation takes the first.

    Args:
        split: ``"train"`` or ``"test"``. A folder with sub-folders ``train`` and ``test`` (or ``val``,
            ``validation``) has its own splits, taken as they are; any other is divided by caption: images
            that share one are on the same side.
        path: the folder; images and texts may lie in sub-folders.
        size: side of every event, at most 2048; see :class:`FolderData`.
        channels: 1 or 3.
        encoder: the text encoder, by name or spec; None leaves the images without a condition.
        column: key of ``metadata.jsonl`` with the caption.
        test_fraction: share of the different captions held out, in [0, 1); 0 puts all images into both
            splits.
        seed: another seed gives another split.

    Raises:
        DataNotFoundError: no such folder, or no images in it.
        InputError: an image without a caption, a caption without its image, or what cannot be read of
            either.
        OptionError: impossible options, or an encoder that is not there.
    """
    root = existing_folder(path, "image-text", "images and texts")
    own = own_split(root, split)
    found = _read_captioned(own or root, column)
    files, captions = list(found), list(found.values())
    if own is None:
        chosen = split_by_caption(captions, split, test_fraction=test_fraction, seed=seed).tolist()
        files, captions = [files[index] for index in chosen], [captions[index] for index in chosen]
    return CaptionedPictures(files, captions, encoder, name=str(root), size=size, channels=channels)


class CaptionedPictures(CaptionedData, FolderData):
    """The captioned images of files; the conditions are the embeddings of the captions.

    The headers of all images are read at once, and images are decoded when a batch asks for them.

    Args:
        files: the file of each image.
        captions: one or more texts for each image.
        encoder: a text encoder by name, spec or instance; None leaves the images without a condition.
        name: the name for messages and tables.
        size: as for :class:`FolderData`.
        channels: as for :class:`FolderData`.

    Raises:
        InputError: images that cannot be read, by number and name; or as :class:`FolderData`.
        OptionError: no encoder of that name, or one whose package or weights are missing.
    """

    def __init__(
        self,
        files: list[Path],
        captions: Sequence[Sequence[str]],
        encoder: str | TextEncoder | None = DEFAULT_ENCODER,
        *,
        name: str = "captioned images",
        size: int | None = None,
        channels: int = 3,
    ) -> None:
        read_each(files, picture_size, name)
        super().__init__(files, name=name, size=size, channels=channels)
        self.take_captions(captions, encoder)


def _read_captioned(place: Path, column: str) -> Captioned:
    """Return the images of a folder and their captions, from ``metadata.jsonl`` or else ``.txt`` files.

    Raises:
        DataNotFoundError: no images.
        InputError: see :func:`_read_metadata` and :func:`_read_texts`.
    """
    every = (path.relative_to(place) for path in place.rglob("*"))
    inside = [place / path for path in every if not any(part.startswith(".") for part in path.parts)]
    images = pictures_of(inside)
    if not images:
        raise DataNotFoundError(f"image-text: no images in {place}; pass path= a folder of images and texts")
    metadata = place / METADATA
    found = _read_metadata(metadata, column) if metadata.is_file() else _read_texts(place, inside, images)
    missing = [image for image in images if image not in found]
    if missing:
        where = f"{METADATA} has no line" if metadata.is_file() else "there is no .txt of the same name"
        raise InputError(
            f"{place}: {some(missing, 'image')} no caption: {where}; add it, or remove the image"
        )
    return found


def _read_metadata(file: Path, column: str) -> Captioned:
    """Read captions from the lines of a ``metadata.jsonl``, in the format of Hugging Face's imagefolder.

    A line is an object with ``file_name``, a path below the file's own folder, and a text or a list of texts
    in ``column``. Empty lines are passed over.

    Raises:
        InputError: a line that is none, has no such keys, or names no image or one for the second time.
    """
    found: Captioned = {}
    for number, line in enumerate(read_lines(file), 1):
        if not line.strip():
            continue
        where = f"{file}, line {number}"
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            entry = None
        if not isinstance(entry, dict):
            raise InputError(f"{where}: expected an object as JSON, got {line[:40]!r}; write one a line")
        image = _picture(entry.get("file_name"), file.parent, where)
        if image in found:
            raise InputError(f"{where}: {image.name} has a caption already; write them as one list of texts")
        if column not in entry:
            known = ", ".join(sorted(map(str, entry)))
            raise InputError(
                f"{where}: no caption '{column}'; known: {known}; pass column= the one with the texts"
            )
        texts = entry[column] if isinstance(entry[column], list) else [entry[column]]
        if not texts:
            raise InputError(f"{where}: expected a text or a list of texts as caption, got an empty list")
        found[image] = tuple(check_caption(text, where) for text in texts)
    return found


def _read_texts(place: Path, inside: list[Path], images: list[Path]) -> Captioned:
    """Read captions from the ``.txt`` files of the images' names; each text is one caption.

    Args:
        place: the folder, for messages.
        inside: all that lies in it and below.
        images: the image files among these.

    Raises:
        InputError: a text without its image, one with two of them, or one that is no caption.
    """
    stems: dict[Path, Path] = {}
    for image in images:
        if (stem := image.with_suffix("")) in stems:
            raise InputError(
                f"{place}: {stems[stem].name} and {image.name} would share a caption; rename one"
            )
        stems[stem] = image
    texts = sorted(path for path in inside if path.suffix.lower() == ".txt" and path.is_file())
    unpaired = [text for text in texts if text.with_suffix("") not in stems]
    if unpaired:
        raise InputError(
            f"{place}: {some(unpaired, 'text')} no image of the same name; add it, or remove the text"
        )
    captions = {text: check_caption(" ".join(read_lines(text, 4 * LONGEST)), str(text)) for text in texts}
    return {stems[text.with_suffix("")]: (caption,) for text, caption in captions.items()}


def check_caption(text: Any, where: str) -> str:
    """Return a caption as one line with single blanks; it may be empty.

    Raises:
        InputError: no text, or one of more than 100,000 characters.
    """
    if not isinstance(text, str):
        raise InputError(
            f"{where}: expected a text as caption, got {type(text).__name__}; write it in quotes"
        )
    if len(text) > LONGEST:
        raise InputError(
            f"{where}: expected a caption of at most {LONGEST:,} characters, got {len(text):,}; cut it"
        )
    return " ".join(text.split())


def some(files: Sequence[Path], kind: str) -> str:
    """Return a count of files with the first name, such as ``3 images (a.png, …) have``."""
    named = ", ".join(file.name for file in files[:_NAMED]) + (", …" if len(files) > _NAMED else "")
    return f"1 {kind} ({named}) has" if len(files) == 1 else f"{len(files)} {kind}s ({named}) have"


def _picture(name: Any, place: Path, where: str) -> Path:
    """Return the image that a line names, in the folder ``place`` or below it."""
    if not isinstance(name, str) or not name:
        raise InputError(f"{where}: expected the name of an image as file_name, got {name!r}")
    written = PurePosixPath(name)
    if written.is_absolute() or ".." in written.parts or "\0" in name:
        raise InputError(f"{where}: expected an image below {place}, got {name!r}; move it there")
    if not is_there(place / written, "is_file"):
        raise InputError(
            f"{where}: caption without its image, there is no {name}; add it, or remove the line"
        )
    return place / written
