"""Retrieval of captions by pictures: is a picture's own caption among the nearest of many?"""

from __future__ import annotations

import torch
from torch import Tensor

from flowprior.errors import InputError

ROUNDING = 1e-12
"""By which two sums of the same cosine may differ."""


def caption_ranks(images: Tensor, own: Tensor, numbers: Tensor, others: Tensor) -> Tensor:
    """How many other captions are at least as near to each picture as its own, by the cosine; int64 ``[N]``.

    Every picture has its own caption among K: where it is none of ``others``, it takes the place of the last.
    Captions that are equally near count as nearer, so that a scorer that tells none apart finds nothing.

    Args:
        images: embeddings of pictures ``[N, E]``.
        own: of their captions ``[N, E]``.
        numbers: of their captions, int64 ``[N]``: below K the place in ``others``.
        others: embeddings of K captions ``[K, E]``, all different.

    Raises:
        InputError: shapes that do not fit.
    """
    shapes = [list(tensor.shape) for tensor in (images, own, others)]
    if images.shape != own.shape or own.dim() != 2 or own.shape[1:] != others.shape[1:] or not len(others):
        raise InputError(f"caption_ranks: expected embeddings [N, E], [N, E] and [K, E], got {shapes}")
    images, own, others = (_of_length_one(tensor) for tensor in (images, own, others))
    nearer = images @ others.T >= (images * own).sum(1, keepdim=True) - ROUNDING
    places = numbers.clamp_max(len(others) - 1)
    return nearer.scatter(1, places[:, None], False).sum(1)


def _of_length_one(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows.double(), dim=1)
