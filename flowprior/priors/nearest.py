"""The embeddings that a prior keeps, the nearest of them, and the average of their events.

Of more distinct embeddings than fit, those of the smallest digests stay: a sample that does not depend on how
often or in which order they come (min-wise sampling, Broder 1997).

Under labels the mean of a condition is that of its own events. Under embeddings it is the average of Nadaraya
(1964) and Watson (1964) over the K nearest of those that are kept,

    m(c) = Σ_j n_j k(d_j) μ_j / Σ_j n_j k(d_j),   k(d) = exp(−½ (d/h)²),

with n_j events of mean μ_j under the embedding at distance d_j. K and h are those of the least error on rows
that were left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from flowprior.priors.holdout import condition_digests, conditioned
from flowprior.streams.batches import Batch

MOST = 4096
"""The largest number of distinct embeddings that are kept."""
CHUNK = 1 << 24
"""The number of distances, of neighbours' events or of predictions that are held at once."""
BANDWIDTHS = 10
"""The number of bandwidths that are tried."""
NARROWEST, WIDEST = 0.125, 4.0
"""The least and the largest of them, as shares of the median distance to the nearest other condition."""


class Distinct(NamedTuple):
    """Distinct embeddings ``[M, E]``, how often each came, and the mean of its events ``[M, D]``, float64."""

    rows: Tensor
    counts: Tensor
    means: Tensor


def distinct_embeddings(batches: Callable[[], Iterable[Batch]], most: int = MOST) -> Distinct:
    """Return at most ``most`` distinct embeddings, by rising digest, on the CPU.

    Args:
        batches: returns batches (x ``[B, D]``, embeddings ``[B, E]``); two passes, and 8 bytes a row.
        most: how many stay.
    """
    chosen = torch.empty(0, dtype=torch.long)
    for _, cond in conditioned(batches()):
        chosen = torch.cat([chosen, condition_digests(cond)])
    chosen = chosen.unique()[:most]
    rows = sums = torch.empty(0)
    count = torch.zeros(len(chosen), dtype=torch.float64)
    for x, cond in conditioned(batches()):
        if not len(rows):
            rows = cond.new_empty(len(chosen), cond.shape[1], device="cpu")
            sums = torch.zeros(len(chosen), x.shape[1], dtype=torch.float64)
        digests = condition_digests(cond)
        place = torch.searchsorted(chosen, digests).clamp_max(len(chosen) - 1)
        known = chosen[place] == digests
        place = place[known]
        rows[place] = cond.cpu()[known]
        sums.index_add_(0, place, x.detach().cpu()[known].double())
        count += torch.bincount(place, minlength=len(chosen))
    return Distinct(rows, count, sums / count[:, None])


def nearest(cond: Tensor, rows: Tensor, count: int = 1) -> tuple[Tensor, Tensor]:
    """Euclidean distances ``[B, n]``, rising, and places ``[B, n]`` of the nearest ``rows`` ``[M, E]``.

    They are found by products about the mean of ``rows``, in float64, and then measured by differences: equal
    embeddings are 0 apart, not the root of a rounding error, and are found among others close by.

    Args:
        cond: embeddings ``[B, E]``.
        rows: embeddings ``[M, E]`` to look among, M at least 1.
        count: n, cut to M.
    """
    count = min(count, len(rows))
    centre = rows.mean(0)
    about = (rows - centre).double()
    half_squares = 0.5 * about.square().sum(1)
    places = [
        (half_squares - (part - centre).double() @ about.T).topk(count, largest=False).indices
        for part in cond.split(max(1, CHUNK // len(rows)))
    ]
    place = torch.cat(places)
    step = max(1, CHUNK // (count * rows.shape[1]))
    measured = [
        (part[:, None] - rows[near]).square().sum(2).sqrt()
        for part, near in zip(cond.split(step), place.split(step), strict=True)
    ]
    distance, order = torch.cat(measured).sort(1)
    return distance, place.gather(1, order)


class Neighbours(NamedTuple):
    """Distances, rising, places in the table, and numbers of events of the nearest rows, ``[B, K]`` each."""

    distance: Tensor
    place: Tensor
    events: Tensor

    def first(self, count: int) -> Neighbours:
        """Return the nearest ``count`` of them."""
        return Neighbours(*(part[:, :count] for part in self))


class LeftOut(NamedTuple):
    """Rows that the mean was not fitted with: x ``[n, D]`` and what it was fitted with around them.

    Attributes:
        x: events.
        near: neighbours without the condition, or with it but without the row.
        change: what leaving the row out does to the mean of its own condition, ``[n, D]``; 0 where the whole
            condition is left out.
    """

    x: Tensor
    near: Neighbours
    change: Tensor


def kernel_average(means: Tensor, weight: Tensor, place: Tensor) -> Tensor:
    """Return Σ_j w_j μ_j ``[B, D]`` of mean events ``[M, D]``, with weights and places ``[B, K]``."""
    step = max(1, CHUNK // (place.shape[1] * max(1, means.shape[1])))
    pairs = zip(weight.split(step), place.split(step), strict=True)
    return torch.cat([(share[:, None] @ means[near])[:, 0] for share, near in pairs])


def kernel_weights(near: Neighbours, bandwidth: float) -> Tensor:
    """Return shares ``[B, K]``, which sum to 1 however far away they are; to 0 if none has events."""
    nearest_first = near.distance.square() - near.distance[:, :1].square()
    weight = near.events * (-0.5 * nearest_first / bandwidth**2).exp()
    return weight / weight.sum(1, keepdim=True).clamp_min(1)


def choose_kernel(
    means: Tensor,
    groups: Sequence[Sequence[LeftOut]],
    neighbours: int | None,
    bandwidth: float | None,
) -> tuple[int, float]:
    """Return the number of neighbours and the bandwidth of the least error.

    Args:
        means: mean events of the representatives, ``[M, D]``.
        groups: rows whose condition is left out, and rows that are left out of their condition; the error is
            the sum of the mean squares of the groups that have rows.
        neighbours: the number, if it is given.
        bandwidth: the bandwidth, if it is given.
    """
    most = groups[0][0].near.place.shape[1]
    distance = torch.cat([part.near.distance[:, 0] for part in groups[0]])
    typical = float(distance[distance > 0].median()) if bool((distance > 0).any()) else 1.0
    counts = [neighbours] if neighbours else sorted({1 << i for i in range(8) if 1 << i <= most} | {1})
    steps = torch.logspace(0, 1, BANDWIDTHS, base=WIDEST / NARROWEST).tolist()
    widths = [bandwidth] if bandwidth else [NARROWEST * step * typical for step in steps]
    pairs = list(product(counts, widths))
    if len(pairs) == 1:
        return pairs[0]
    errors = torch.stack([_errors(means, group, pairs) for group in groups if group])
    return pairs[int(errors.sum(0).argmin())]


def _errors(means: Tensor, group: Sequence[LeftOut], pairs: Sequence[tuple[int, float]]) -> Tensor:
    """Return the mean square error of each pair of a count and a width, float64."""
    total, rows = torch.zeros(len(pairs), dtype=torch.float64), 0
    for part in group:
        rank = torch.arange(part.near.place.shape[1], device=part.x.device)
        step = max(1, CHUNK // (means.shape[1] * (len(rank) + len(pairs))))
        for x, change, *near in zip(*(t.split(step) for t in (part.x, part.change, *part.near)), strict=True):
            found = Neighbours(*near)
            kept = {count: found._replace(events=found.events * (rank < count)) for count, _ in pairs}
            share = torch.stack([kernel_weights(kept[count], width) for count, width in pairs], 1)
            residual = x[:, None] - share @ means[found.place] - share[:, :, :1] * change[:, None]
            total += residual.square().mean(2).sum(0, dtype=torch.float64).cpu()
            rows += len(x)
    return total / rows
