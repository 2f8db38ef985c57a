"""An image-condition score for data whose condition is an embedding: two small contrastive heads.

They learn from real pairs to tell each picture's condition from the others of a batch (InfoNCE; Radford et
al. 2021). Values are comparable only on one data set and one set of features. It is not CLIP: ``pair-…``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from flowprior.errors import InputError
from flowprior.features.base import initialise

WIDTH = 128
HIDDEN = 256
STEPS = 500
BATCH = 256
LEARNING_RATE = 2e-3
AMONG = 100
"""Conditions that a picture's own is to be found among."""


class PairScore(NamedTuple):
    """Mean cosine of matching pairs, and share of pictures whose own condition is the nearest."""

    cosine: float
    top1: float


class PairHeads(nn.Module):
    """Two heads into one space.

    Args:
        features: numbers F of an image's features.
        embedding: numbers E of a condition.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, features: int, embedding: int) -> None:
        super().__init__()
        self.image = nn.Linear(features, WIDTH)
        self.condition = nn.Sequential(nn.Linear(embedding, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, WIDTH))
        self.log_temperature = nn.Parameter(torch.tensor(-2.0))
        self.register_buffer("shift", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))

    def images(self, features: Tensor) -> Tensor:
        """Unit vectors ``[N, 128]`` of image features ``[N, F]``."""
        return nn.functional.normalize(self.image((features - self.shift) / self.scale), dim=1)

    def conditions(self, cond: Tensor) -> Tensor:
        """Unit vectors ``[N, 128]`` of embeddings ``[N, E]``."""
        return nn.functional.normalize(self.condition(cond), dim=1)

    @torch.no_grad()
    def score(self, features: Tensor, cond: Tensor, among: int = AMONG) -> PairScore:
        """How well pictures fit their conditions.

        Args:
            features: of N pictures, ``[N, F]``.
            cond: their embeddings ``[N, E]``.
            among: the nearest is sought among this many distinct conditions, the first ones; pictures of
                others count for the cosine alone.
        """
        images, texts = self.images(features.float()), self.conditions(cond.float())
        places, count = _places(cond)
        candidates = torch.stack([(places == k).nonzero()[0, 0] for k in range(min(among, count))])
        known = places < len(candidates)
        nearest = (images[known] @ texts[candidates].T).argmax(1)
        top1 = (nearest == places[known]).double().mean().item()
        return PairScore((images * texts).sum(1).double().mean().item(), top1)


def train_heads(features: Tensor, cond: Tensor, *, seed: int = 0) -> PairHeads:
    """Train both heads on real pairs; seconds on a CPU. Pictures of one condition are no negatives.

    Args:
        features: ``[N, F]``.
        cond: embeddings ``[N, E]``.
        seed: of weights and order.

    Raises:
        InputError: pairs that do not fit, or a single condition.
    """
    if len(features) != len(cond) or cond.dim() != 2 or features.dim() != 2:
        shapes = f"{list(features.shape)} and {list(cond.shape)}"
        raise InputError(f"train_heads: expected features [N, F] and embeddings [N, E], got {shapes}")
    places, count = _places(cond)
    if count < 2:
        raise InputError("train_heads: expected at least two distinct conditions, got one")
    features, cond = features.float(), cond.float()
    generator = torch.Generator().manual_seed(seed)
    heads = PairHeads(features.shape[1], cond.shape[1])
    initialise(heads, generator, "linear")
    heads.shift, heads.scale = features.mean(0), features.std(0).clamp_min(1e-3)
    optimiser = torch.optim.AdamW(heads.parameters(), LEARNING_RATE, weight_decay=0.1)
    with torch.enable_grad():
        for _ in range(STEPS):
            rows = torch.randperm(len(features), generator=generator)[:BATCH]
            optimiser.zero_grad(set_to_none=True)
            _loss(heads, features[rows], cond[rows], places[rows]).backward()
            optimiser.step()
    return heads.eval().requires_grad_(False)


def _loss(heads: PairHeads, features: Tensor, cond: Tensor, places: Tensor) -> Tensor:
    """Symmetric cross-entropy; all pairs of one condition are right."""
    logits = heads.images(features) @ heads.conditions(cond).T / heads.log_temperature.exp()
    right = (places[:, None] == places[None, :]).float()
    target = right / right.sum(1, keepdim=True)
    cross_entropy = nn.functional.cross_entropy
    return (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2


def _places(cond: Tensor) -> tuple[Tensor, int]:
    """One number for each distinct row, by first appearance, int64 ``[N]``; and how many there are."""
    _, places = cond.unique(dim=0, return_inverse=True)
    order: dict[int, int] = {}
    return torch.tensor([order.setdefault(place, len(order)) for place in places.tolist()]), len(order)
