"""Mean events of the conditions of a data set, in bounded memory, and their average by a kernel.

Under labels the mean of a condition is that of its own events. Under embeddings it is the average of Nadaraya
(1964) and Watson (1964) over the K nearest of those that are kept,

    m(c) = Σ_j n_j k(d_j) μ_j / Σ_j n_j k(d_j),   k(d) = exp(−½ (d/h)²),

with n_j events of mean μ_j under the embedding at distance d_j.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from flowprior.data.stream import Batch, CheckedBatches
from flowprior.mixtures.moments import ConditionMoments
from flowprior.priors.distinct import DistinctEmbeddings, nearest

CHUNK = 1 << 24
"""Numbers of neighbours' events that are held at once."""


class Neighbours(NamedTuple):
    """Of B rows: distances, rising, places in the table, and how many events those had, ``[B, K]`` each."""

    distance: Tensor
    place: Tensor
    events: Tensor


class Representatives(nn.Module):
    """M conditions, how many events each had and what they average to: M·(E + D + 1) numbers."""

    conditions: Tensor
    count: Tensor
    means: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("conditions", "count", "means"):
            self.register_buffer(name, torch.empty(0))

    def fit_embeddings(self, batches: Iterable[Batch], most: int, like: Tensor) -> None:
        """One pass over (x ``[B, D]``, embeddings ``[B, E]``); at most ``most`` distinct ones stay."""
        found = DistinctEmbeddings.over(batches, most, events=True)
        self._keep(found.rows.to(like), found.count, found.means, like)

    def fit_labels(self, data: CheckedBatches, like: Tensor) -> None:
        """One pass over (x ``[B, D]``, labels ``[B]``), all of which stay."""
        moments = ConditionMoments.over(data.labelled())
        labels = moments.count.nonzero()[:, 0]
        self._keep(labels.to(like.device), moments.count[labels], moments.mean[labels], like)

    def _keep(self, conditions: Tensor, count: Tensor, means: Tensor, like: Tensor) -> None:
        self.conditions, self.count, self.means = conditions, count.to(like), means.to(like)

    def own(self, labels: Tensor) -> Tensor:
        """Place in the table of each of the labels ``[B]``, which are all in it."""
        return torch.searchsorted(self.conditions, labels.contiguous())

    def neighbours(self, cond: Tensor, count: int) -> Neighbours:
        """The nearest of the table, at most ``count``, for embeddings ``[B, E]``."""
        distance, place = nearest(cond, self.conditions, count)
        return Neighbours(distance, place, self.count[place])

    def average(self, near: Neighbours, bandwidth: float) -> Tensor:
        """m ``[B, D]`` by the kernel of width h = ``bandwidth``."""
        weight = kernel_weights(near, bandwidth)
        step = max(1, CHUNK // max(1, near.place.shape[1] * self.means.shape[1]))
        parts = [
            (share[:, None] @ self.means[place])[:, 0]
            for share, place in zip(weight.split(step), near.place.split(step), strict=True)
        ]
        return torch.cat(parts)

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Take the tables in whatever size they come."""
        for name, buffer in list(self._buffers.items()):
            saved = state_dict.get(prefix + name)
            if saved is not None and buffer is not None and saved.shape != buffer.shape:
                self._buffers[name] = torch.empty_like(saved, device=buffer.device)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def kernel_weights(near: Neighbours, bandwidth: float) -> Tensor:
    """Shares ``[B, K]`` of the neighbours, which sum to 1 however far away they are."""
    nearest_first = near.distance.square() - near.distance[:, :1].square()
    weight = near.events * (-0.5 * nearest_first / bandwidth**2).exp()
    return weight / weight.sum(1, keepdim=True)
