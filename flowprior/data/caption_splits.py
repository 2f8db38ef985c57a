"""Which captions, and which pictures of a caption, a flow is trained on: decided by hashes, once for all.

Every caption belongs to a family, the captions that must not be parted since their pictures are nearly the
same ("man running", "woman running"). A family is *seen*, *unseen* or the *scorer's*: flows are trained on
seen captions alone, and the scorer's are kept for training an image-text score, so that no flow and no test
knows them. Of the pictures of a seen family those of one group of drawing styles are held out.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np

Part = Literal["seen", "unseen", "scorer"]
UNSEEN = 0.17
"""Share of the families that no flow and no scorer is trained on."""
SCORER = 0.24
"""Share of the families that the image-text score is trained on."""


def part_of(family: str) -> Part:
    """The part of a family of captions."""
    place = _place("part", family)
    return "unseen" if place < UNSEEN else "scorer" if place < UNSEEN + SCORER else "seen"


def is_held_out(family: str, captions: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Which pictures of a seen family are tested on, bool ``[N]``: those of one group of styles.

    Captions that are drawn in no other group stay in training with all their pictures.

    Args:
        family: of the captions.
        captions: place of each picture's caption, int64 ``[N]``.
        groups: each picture's group of styles, ``[N]``.
    """
    chosen = min(set(groups.tolist()), key=lambda group: _place(group, family))
    elsewhere = np.unique(captions[groups != chosen])
    return (groups == chosen) & np.isin(captions, elsewhere)


def _place(purpose: str, text: str) -> float:
    """A number in [0, 1) that looks random and depends on nothing else."""
    digest = hashlib.sha256(f"{purpose}: {text}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
