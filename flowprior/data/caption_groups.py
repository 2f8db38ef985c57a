"""Splits of captioned pictures by caption: none is ever on both sides."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from flowprior.data.base import Split
from flowprior.data.splits import split_indices


def split_by_caption(
    captions: Sequence[Sequence[str]], split: Split, *, test_fraction: float, seed: int = 0
) -> Tensor:
    """Sorted indices int64 of the pictures of one part; pictures that share a caption are in the same one.

    Captions that differ in upper and lower case or in white space alone are the same.

    Args:
        captions: one or more texts for each picture.
        split: ``"train"`` or ``"test"``.
        test_fraction: share of the groups of pictures (mostly: of the different captions) held out, in [0,
            1); 0 puts all pictures into both parts.
        seed: another seed gives another split.

    Raises:
        OptionError: ``split``, ``test_fraction`` or ``seed`` is not possible.
        InputError: the part would be empty.
    """
    groups = caption_groups(captions)
    chosen = split_indices(int(groups.max()) + 1, split, test_fraction=test_fraction, seed=seed)
    return torch.isin(groups, chosen).nonzero().flatten()


def caption_groups(captions: Sequence[Sequence[str]]) -> Tensor:
    """Group int64 ``[N]`` of each picture; pictures that a chain of shared captions joins have the same."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    known: dict[str, int] = {}
    pairs = [
        (picture, len(captions) + known.setdefault(_as_compared(text), len(known)))
        for picture, texts in enumerate(captions)
        for text in texts
    ]
    size = len(captions) + len(known)
    rows, columns = np.array(pairs).T
    graph = coo_array((np.ones(len(pairs), dtype=np.int8), (rows, columns)), shape=(size, size))
    _, labels = connected_components(graph, directed=False)
    return torch.from_numpy(labels[: len(captions)]).long()


def _as_compared(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
