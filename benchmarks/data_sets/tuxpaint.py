"""Stamps of Tux Paint: captioned photographs and drawings from outside any training set, to evaluate on.

Importing this file registers the data set ``tuxpaint``.
"""

from __future__ import annotations

from pathlib import Path

from flowprior.data.base import DATA, Split
from flowprior.data.caption_files import check_caption, read_lines, some
from flowprior.data.captioned import DEFAULT_ENCODER, CaptionedPictures
from flowprior.data.folder import check_shape
from flowprior.data.splits import check_split
from flowprior.errors import DataNotFoundError, InputError, OptionError
from flowprior.storage.user_paths import existing_folder

DEBIAN_FOLDER = Path("/usr/share/tuxpaint/stamps")
PACKAGE = "tuxpaint-stamps-default"


@DATA.register("tuxpaint")
def tuxpaint(
    split: Split = "train",
    path: str | None = None,
    size: int = 64,
    encoder: str | None = DEFAULT_ENCODER,
) -> CaptionedPictures:
    """Stamps of Tux Paint, 951 captioned pictures [3, size, size] in [-1, 1], to evaluate on alone (Debian).

    A stamp is a ``.png`` with a ``.txt`` of the same name, whose first line is the English caption; the lines
    below it are translations. Pictures without a text (mirrored twins) and texts without a picture are left
    out. Each stamp has its own licence, in the package's copyright file.

    Args:
        split: ``"test"``, all of them; there is no training split.
        path: folder of the stamps, which lie in its sub-folders; None takes that of the Debian package.
        size: side of every event, at most 2048; pictures are scaled on their shorter side and cropped at the
            centre, transparency is laid on white.
        encoder: of the captions, by name or spec; None leaves the pictures without a condition.

    Raises:
        DataNotFoundError: no stamps; the message says what brings them.
        InputError: a stamp without an English caption, or pictures that cannot be read.
        OptionError: the training split, impossible options, or an encoder that is not there.
    """
    check_split(split)
    check_shape("tuxpaint", size, 3)
    if split == "train":
        raise OptionError(
            "tuxpaint: there is no training split, its stamps are to evaluate on alone; train on other data, "
            "and pass load_data('tuxpaint', 'test') as reference= of evaluate"
        )
    root = DEBIAN_FOLDER if path is None else existing_folder(path, "tuxpaint", "stamps")
    files = sorted(file for file in root.rglob("*.png") if file.with_suffix(".txt").is_file())
    if not files:
        raise DataNotFoundError(
            f"tuxpaint: no stamps, .png with .txt, in {root}; install the Debian package {PACKAGE}, or pass "
            "path= their folder"
        )
    captions = [_english(file.with_suffix(".txt")) for file in files]
    lacking = [file for file, caption in zip(files, captions, strict=True) if not caption]
    if lacking:
        raise InputError(
            f"{root}: {some(lacking, 'stamp')} no English caption, the first line of the .txt; write it"
        )
    return CaptionedPictures(
        files, [(caption,) for caption in captions], encoder, name="tuxpaint", size=(size, size)
    )


def _english(file: Path) -> str:
    return check_caption(read_lines(file)[0], str(file))
