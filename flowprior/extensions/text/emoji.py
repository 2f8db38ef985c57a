"""The data set ``emoji``: drawings with captions, for text to image without a download.

A file, one .npz, has images of one size, their captions, and embeddings of these. ``python -m
benchmarks.data_sets.emoji`` writes it, at any size; the set of 32 pixels lies in the package.

Which captions, and which images of a caption, a flow is trained on is decided by hashes, once for all.
Every caption belongs to a family, the captions that must not be parted since their images are nearly the
same ("man running", "woman running"). A family is *seen*, *unseen* or the *scorer's*: flows are trained on
seen captions alone, and the scorer's are kept for training an image-text score, so that no flow and no test
knows them. Of the images of a seen family those of one group of drawing styles are held out.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from flowprior.conditions import Condition, Parts
from flowprior.conditions.rows import BETWEEN
from flowprior.data.base import DATA, Data, Split
from flowprior.errors import InputError, OptionError
from flowprior.registry.options import choose
from flowprior.storage.user_paths import existing_file
from flowprior.streams.array_files import check_packing

CONDITIONS = ("caption", "style", "group")
PARTS = {"seen": "train-seen", "unseen": "test-unseen", "scorer": "train-scorer"}
TWINS = {"noto-v1": "noto", "fluent-emoji-flat": "fluent-emoji"}
"""The styles that were drawn after another one; both are always in the same split."""
FORMAT = 1
"""The version of the file."""
EMBEDDED = Path(__file__).parent / "embedded" / "emoji.npz"
"""The file of emoji in the package."""
ATTRIBUTIONS = EMBEDDED.with_name("emoji-attributions.md")
ARRAYS = {
    "pictures": np.uint8,
    "caption_of": np.uint16,
    "style_of": np.uint8,
    "group_of": np.uint8,
    "embeddings": np.float16,
    "empty_embedding": np.float16,
}
"""The stored type of each array of the file."""
PLACES = ("caption_of", "style_of", "group_of")
TEXTS = ("captions", "ids", "families", "styles", "groups")
UNSEEN_SHARE = 0.17
"""The share of families of captions that no flow and no scorer is trained on."""
SCORER_SHARE = 0.24
"""The share of families of captions on which the image-text score is trained."""


@DATA.register("emoji")
def emoji(
    split: Split = "train",
    captions: Literal["seen", "unseen", "scorer"] = "seen",
    condition: str = "caption",
    path: str | None = None,
) -> EmojiData:
    """Emoji with captions, images [3, 32, 32] in [-1, 1] in seven drawing styles, on white.

    9,987 images of 1,920 captions (Unicode's names of emoji) in all, parted by caption:

    - training split: 4,514 images of 1,160 captions, which are *seen*;
    - test split, ``captions=seen``: 1,550 images of 1,137 captions of these, in styles held out for them;
    - test split, ``captions=unseen``: 1,621 images of 313 captions;
    - ``captions=scorer``: 2,302 images of 447 captions, for training an image-text score.

    Args:
        split: ``"train"`` or ``"test"``.
        captions: ``"seen"`` tests captions of the training images, drawn in styles held out for them;
            ``"unseen"`` tests captions of which no image is trained on; the training split is the same.
            ``"scorer"`` is a training split of other captions, for an image-text score.
        condition: ``"caption"``, embeddings [384] of length 1 (all-MiniLM-L6-v2); ``"style"``, 7 labels; or
            ``"group"``, 10 labels of what is drawn. Several with ``+`` between, as in ``caption+style``, are
            parts of these names.
        path: a file of another size, from ``python -m benchmarks.data_sets.emoji``; None is the one of 32
            pixels in the package.

    Raises:
        OptionError: no such option, or the scorer's test split, which there is none of.
        DataNotFoundError: no such file.
        InputError: the file is damaged or another one.
    """
    choose("emoji", "captions", captions, list(PARTS))
    for part in str(condition).split(BETWEEN):  # a spec string makes numbers of digits
        choose("emoji", "condition", part, CONDITIONS)
    if captions == "scorer" and split == "test":
        raise OptionError("emoji: captions='scorer' has no test split; test on captions='unseen'")
    place = EMBEDDED if path is None else existing_file(path, "emoji", "file of emoji (.npz)")
    file = EmojiFile.read(place)
    wanted = f"{split}-seen" if split == "train" and captions != "scorer" else f"{split}-{captions}"
    part_of_picture = parts_of(file)
    chosen = np.flatnonzero(part_of_picture == wanted)
    if not len(chosen):
        raise InputError(f"{place}: no images for split={split}, captions={captions}; build a larger file")
    has_scorer = captions != "scorer" and bool((part_of_picture == PARTS["scorer"]).any())
    scorer = partial(emoji, captions="scorer", path=path) if has_scorer else None
    return EmojiData(file, chosen, condition, "emoji" if path is None else str(place), scorer)


class EmojiData(Data):
    """Some of the images of a file of emoji, kept as bytes and converted to float32 batch by batch.

    Args:
        file: images, captions and embeddings.
        indices: the rows of the file to take, int64 ``[N]``.
        condition: ``"caption"``, ``"style"`` or ``"group"``, or several of them with ``+`` between.
        name: the name for messages and tables.
        scorer: where the file has images for learning an image-text score, the function that reads them.

    Attributes:
        captions: the caption of each image.
        caption_ids: code points of each event's emoji, such as ``1F600``.
        styles: the name of each image's drawing style.
        embeddings: the embedding of each image's caption, float32 ``[N, E]``, of length 1.
    """

    is_image = True

    def __init__(
        self,
        file: EmojiFile,
        indices: np.ndarray,
        condition: str,
        name: str,
        scorer: Callable[[], EmojiData] | None = None,
    ) -> None:
        self.name, self._scorer = name, scorer
        self.pictures = torch.from_numpy(file.pictures[indices])
        self.event_shape = torch.Size([3, *self.pictures.shape[1:3]])
        of, styles = file.caption_of[indices], file.style_of[indices]
        self.captions = [file.captions[place] for place in of.tolist()]
        self.caption_ids = [file.ids[place] for place in of]
        self.styles = [file.styles[place] for place in styles]
        self.licences = sorted({source["licence"] for source in file.about.get("sources", [])})
        # A number for the images of one family in one group of styles, which are held out together.
        family = np.unique(file.families, return_inverse=True)[1][of]
        group = np.unique(_style_groups(file), return_inverse=True)[1][indices]
        self.look_alikes = torch.from_numpy((family * len(file.styles) + group).astype(np.int64))
        of_length_one = torch.nn.functional.normalize(torch.from_numpy(file.embeddings).float(), dim=1)
        self.embeddings = of_length_one[torch.from_numpy(of)]
        named = {"style": list(file.styles), "group": list(file.groups)}
        values = {
            "caption": self.embeddings,
            "style": torch.from_numpy(styles),
            "group": torch.from_numpy(file.group_of[of]),
        }
        kinds = {name: Condition("labels", len(labels)) for name, labels in named.items()}
        kinds["caption"] = Condition.of(self.embeddings)
        first, *more = parts = condition.split(BETWEEN)
        self.cond: Tensor | Parts = values[first]
        self.condition, self.class_names = kinds[first], named.get(first)
        if more:
            self.cond = Parts({part: values[part] for part in parts})
            self.condition = Condition("parts", parts=tuple((part, kinds[part]) for part in parts))
            self.label_names = {part: named[part] for part in parts if part in named}
            self.class_names = None
        if "caption" in parts:
            encoder = file.about["encoder"]
            self.text_encoder = encoder["name"]
            self.text_encoder_identity = "{name} {model} sha256 {sha256}".format(**encoder)

    def __len__(self) -> int:
        return len(self.pictures)

    def batch(self, indices: Tensor) -> tuple[Tensor, Any]:
        """Return images ``[B, 3, size, size]`` and conditions of ``indices``."""
        pictures = self.pictures[indices].permute(0, 3, 1, 2).float().contiguous()
        return pictures.div_(127.5).sub_(1), self.cond[indices]

    def caption_embeddings(self, indices: Tensor) -> Tensor:
        """Return the captions' embeddings ``[B, 384]``, of length 1, also if the condition is a label."""
        return self.embeddings[indices]

    def scorer_split(self) -> EmojiData | None:
        """Return the images of the scorer split; None for that split itself, and for a file without one."""
        return None if self._scorer is None else self._scorer()


@dataclass(frozen=True, eq=False)
class EmojiFile:
    """The contents of a file of emoji: images in several drawing styles, each with one of the captions.

    Attributes:
        pictures: uint8 ``[N, size, size, 3]``; channels last packs a third smaller.
        caption_of: place of each image's caption, int64 ``[N]``.
        style_of: place of each image's drawing style, int64 ``[N]``.
        group_of: place of each caption's group, int64 ``[C]``.
        embeddings: the embeddings of the captions, float16 ``[C, E]``.
        empty_embedding: the embedding of the empty caption, float16 ``[E]``.
        captions: C texts, all different.
        ids: code points of each caption's emoji, such as ``1F600``, all different.
        families: one text for each caption; captions with the same one stay together when captions are split.
        styles: names of the drawing styles.
        groups: names of the groups.
        about: background, renderer, text encoder and sources, as plain values.
    """

    pictures: np.ndarray
    caption_of: np.ndarray
    style_of: np.ndarray
    group_of: np.ndarray
    embeddings: np.ndarray
    empty_embedding: np.ndarray
    captions: list[str]
    ids: list[str]
    families: list[str]
    styles: list[str]
    groups: list[str]
    about: dict[str, Any]

    def write(self, path: Path) -> None:
        """Write the file; equal contents give equal bytes."""
        texts = {name: getattr(self, name) for name in (*TEXTS, "about")}
        header = json.dumps({"format": FORMAT, **texts}, ensure_ascii=False)
        arrays = {name: getattr(self, name).astype(dtype) for name, dtype in ARRAYS.items()}
        np.savez_compressed(path, header=np.frombuffer(header.encode(), np.uint8), **arrays)

    @classmethod
    def read(cls, path: Path) -> EmojiFile:
        """Read the contents of the file ``path``.

        Raises:
            InputError: it is damaged, or no such file.
        """
        try:
            if not zipfile.is_zipfile(path):
                raise ValueError("no .npz archive, or one that is cut short")
            check_packing(path)
            with np.load(path, allow_pickle=False) as stored:
                header = json.loads(stored["header"].tobytes())
                arrays = {name: stored[name] for name in ARRAYS}
            if header["format"] != FORMAT:
                raise ValueError(f"expected format {FORMAT}, got {header['format']}")
            places = {name: arrays[name].astype(np.int64) for name in PLACES}
            texts = {name: header[name] for name in (*TEXTS, "about")}
            return cls(**{**arrays, **places, **texts})
        except InputError:
            raise
        except Exception as error:  # the parsers of damaged files raise a dozen kinds
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            advice = "install flowprior" if path == EMBEDDED else "build it with benchmarks.data_sets.emoji"
            raise InputError(
                f"{path}: cannot be read as a file of emoji ({reason}); {advice} again"
            ) from error


def parts_of(file: EmojiFile) -> np.ndarray:
    """The part of each image ``[N]``: train-seen, test-seen, test-unseen or train-scorer."""
    families, groups = np.array(file.families)[file.caption_of], _style_groups(file)
    parts = np.empty(len(groups), dtype="U12")
    for family in sorted(set(file.families)):
        rows = np.flatnonzero(families == family)
        parts[rows] = PARTS[part_of(family)]
        if part_of(family) == "seen":
            parts[rows[is_held_out(family, file.caption_of[rows], groups[rows])]] = "test-seen"
    return parts


def part_of(family: str) -> str:
    """Return the part of a family of captions: ``"seen"``, ``"unseen"`` or ``"scorer"``."""
    place = _chance("part", family)
    return "unseen" if place < UNSEEN_SHARE else "scorer" if place < UNSEEN_SHARE + SCORER_SHARE else "seen"


def is_held_out(family: str, captions: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the test images of the seen families, bool ``[N]``: those of one group of styles.

    Captions that are drawn in no other group stay in training with all their images.

    Args:
        family: the family of captions.
        captions: place of each image's caption, int64 ``[N]``.
        groups: each image's group of styles, ``[N]``.
    """
    chosen = min(set(groups.tolist()), key=lambda group: _chance(group, family))
    elsewhere = np.unique(captions[groups != chosen])
    return (groups == chosen) & np.isin(captions, elsewhere)


def _style_groups(file: EmojiFile) -> np.ndarray:
    """Return the style of each image ``[N]``, or the style after which its style was drawn."""
    return np.array([TWINS.get(style, style) for style in file.styles])[file.style_of]


def _chance(purpose: str, text: str) -> float:
    """Return a pseudo-random number in [0, 1) that depends on ``text`` alone."""
    digest = hashlib.sha256(f"{purpose}: {text}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
