"""The file that emoji come in: pictures of one size, their captions, and embeddings of these; one .npz.

``python -m benchmarks.data_sets.emoji`` writes it, at any size; the set of 32 pixels lies in the package.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flowprior.data.arrays import check_packing
from flowprior.errors import InputError

FORMAT = 1
EMBEDDED = Path(__file__).parent / "embedded" / "emoji.npz"
ATTRIBUTIONS = EMBEDDED.with_name("emoji-attributions.md")
ARRAYS = ("pictures", "caption_of", "style_of", "group_of", "embeddings", "empty_embedding")
TEXTS = ("captions", "ids", "families", "styles", "groups")


@dataclass(frozen=True, eq=False)
class EmojiFile:
    """Pictures in several drawing styles, each with one of the captions.

    Attributes:
        pictures: uint8 ``[N, size, size, 3]``; channels last packs a third smaller.
        caption_of: place of each picture's caption, int64 ``[N]``.
        style_of: place of each picture's drawing style, int64 ``[N]``.
        group_of: place of each caption's group, int64 ``[C]``.
        embeddings: of the captions, float16 ``[C, E]``.
        empty_embedding: of the empty caption, float16 ``[E]``.
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
        texts = {name: getattr(self, name) for name in TEXTS}
        header = json.dumps({"format": FORMAT, **texts, "about": self.about}, ensure_ascii=False)
        arrays = {name: getattr(self, name) for name in ARRAYS}
        small = {"caption_of": np.uint16, "style_of": np.uint8, "group_of": np.uint8}
        arrays |= {name: arrays[name].astype(dtype) for name, dtype in small.items()}
        np.savez_compressed(path, header=np.frombuffer(header.encode(), np.uint8), **arrays)

    @classmethod
    def read(cls, path: Path) -> EmojiFile:
        """The contents of ``path``.

        Raises:
            InputError: it is damaged, or no such file.
        """
        try:
            return cls(**_contents(path))
        except InputError:
            raise
        except Exception as error:  # the parsers of damaged files raise a dozen kinds
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            advice = "install flowprior" if path == EMBEDDED else "build it with benchmarks.data_sets.emoji"
            raise InputError(
                f"{path}: cannot be read as a file of emoji ({reason}); {advice} again"
            ) from error


def _contents(path: Path) -> dict[str, Any]:
    if not zipfile.is_zipfile(path):
        raise ValueError("no .npz archive, or one that is cut short")
    check_packing(path)
    with np.load(path, allow_pickle=False) as stored:
        missing = [name for name in ("header", *ARRAYS) if name not in stored.files]
        if missing:
            raise ValueError(f"no {missing[0]} in it")
        header = json.loads(stored["header"].tobytes())
        arrays = {name: stored[name] for name in ARRAYS}
    if header["format"] != FORMAT:
        raise ValueError(f"expected format {FORMAT}, got {header['format']}")
    for name in ("caption_of", "style_of", "group_of"):
        arrays[name] = arrays[name].astype(np.int64)
    return arrays | {name: header[name] for name in (*TEXTS, "about")}
