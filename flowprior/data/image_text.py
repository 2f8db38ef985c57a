"""Folders of pictures with their captions."""

from __future__ import annotations

from flowprior.data.base import DATA, Split
from flowprior.data.caption_files import read_captioned
from flowprior.data.captions import DEFAULT_ENCODER, CaptionedPictures, split_by_caption
from flowprior.data.folder import check_shape, own_split
from flowprior.data.splits import check_split
from flowprior.storage.user_paths import existing_folder


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
    """Captioned pictures in a folder, [channels, size, size] in [-1, 1]; conditions embed the captions.

    The captions are those of ``metadata.jsonl``, as Hugging Face's imagefolder has it, one object a line with
    ``file_name`` and ``text``; or, where there is none, those of a ``.txt`` beside each picture, whose whole
    text is one caption. Every picture has a caption and every caption its picture. Captions may be empty (the
    null condition), in any script, and up to 100,000 characters long; what an encoder reads of a
    long one is its own affair. A list of texts in place of one is several captions of a picture, of which
    training draws one at each visit and evaluation takes the first.

    Args:
        split: ``"train"`` or ``"test"``. A folder with sub-folders ``train`` and ``test`` (or ``val``,
            ``validation``) has its own splits, taken as they are; any other is divided by caption: pictures
            that share one are on the same side.
        path: the folder; pictures and texts may lie in sub-folders.
        size: side of every event, at most 2048; see :class:`FolderData`.
        channels: 1 or 3.
        encoder: of the captions, by name or spec; None leaves the pictures without a condition.
        column: key of ``metadata.jsonl`` with the caption.
        test_fraction: share of the different captions held out, in [0, 1); 0 puts all pictures into both
            splits.
        seed: another seed gives another split.

    Raises:
        DataNotFoundError: no such folder, or no pictures in it.
        InputError: a picture without a caption, a caption without its picture, or what cannot be read of
            either.
        OptionError: impossible options, or an encoder that is not there.
    """
    check_split(split)
    check_shape("image-text", size, channels)
    root = existing_folder(path, "image-text", "pictures and texts")
    own = own_split(root, split)
    found = read_captioned(own or root, column)
    files, captions = list(found), list(found.values())
    if own is None:
        chosen = split_by_caption(captions, split, test_fraction=test_fraction, seed=seed).tolist()
        files, captions = [files[index] for index in chosen], [captions[index] for index in chosen]
    sides = None if size is None else (size, size)
    return CaptionedPictures(files, captions, encoder, name=str(root), size=sides, channels=channels)
