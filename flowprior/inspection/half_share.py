"""Does a prior copy? It is fitted on one half of the data; its draws should not lie nearer to that half."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.conditions import rows as rows_of
from flowprior.errors import InputError
from flowprior.mixtures.averaging import nearer_share
from flowprior.priors import Prior

FEWEST = 4


def half_share(
    make: Callable[[], Prior],
    x: Tensor,
    cond: Conditions | None = None,
    *,
    generator: torch.Generator | None = None,
) -> float:
    """Share of the draws of a prior fitted on one half of x that lie nearer to that half than to the other.

    0.5 where it has learned what the halves have in common, 1 where it copies. Each label is halved by itself
    and a draw compared with its own label's data; one with a single example is left out.

    Args:
        make: the prior, not fitted.
        x: data ``[N, *event]``.
        cond: labels ``[N]``, embeddings ``[N, E]``, token states, parts, or None.
        generator: source of the halves, the fit and the draws.

    Raises:
        InputError: fewer than four rows, or labels with one example only.
    """
    own, other = _halves(x, cond, generator)
    if len(own) < FEWEST // 2:
        raise InputError(
            f"half_share: expected {FEWEST} rows or more, two of a label, got {len(x)}; give more data"
        )
    chosen = rows_of(cond, own)
    prior = make().fit((x[own], chosen), generator=generator)
    drawn = prior.sample(chosen, len(own), generator=generator)
    rows = [part.flatten(1) for part in (drawn, x[own], x[other])]
    groups = _groups(cond, len(x))[own]
    shares = [(mine, nearer_share(*(part[mine] for part in rows))) for mine in _members(groups)]
    return sum(len(mine) * share for mine, share in shares) / len(own)


def _groups(cond: Conditions | None, count: int) -> Tensor:
    """What is halved by itself: labels ``[N]``, or zeros."""
    if not isinstance(cond, Tensor) or cond.is_floating_point() or cond.dim() != 1:
        return torch.zeros(count, dtype=torch.long)
    return cond.cpu()


def _halves(x: Tensor, cond: Conditions | None, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Two lists of as many rows, whose labels agree place by place."""
    order = torch.randperm(len(x), generator=generator)
    groups = _groups(cond, len(x))
    parts = [order[groups[order] == label] for label in groups.unique()]
    halves = [(part[: len(part) // 2], part[len(part) // 2 :][: len(part) // 2]) for part in parts]
    own, other = zip(*halves, strict=True) if halves else ((order,), (order,))
    return torch.cat(own), torch.cat(other)


def _members(groups: Tensor) -> list[Tensor]:
    return [(groups == label).nonzero()[:, 0] for label in groups.unique()]
