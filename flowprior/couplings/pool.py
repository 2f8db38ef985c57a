"""Pairs (x0, x1) that are made once and drawn from ever after, each label's by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from flowprior.conditions import Conditions, describe_value
from flowprior.errors import CouplingError
from flowprior.streams.batches import CheckedBatches

OWNER = "coupling 'reflow'"
WITHOUT = -1
"""Stands for the label of data without conditions."""
MOST_BYTES = 4 << 30
"""Most bytes of pairs that may be held."""


@dataclass(frozen=True)
class Pool:
    """Pairs of each label.

    Attributes:
        pairs: label -> (x0, x1), ``[M, *event]`` each; :data:`WITHOUT` where there are no conditions.
    """

    pairs: Mapping[int, tuple[Tensor, Tensor]]

    def draw(self, cond: Tensor | None, n: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """(x0, x1), ``[n, *event]`` each, with replacement, of the labels ``[n]`` or without conditions.

        Raises:
            CouplingError: a label of which there are no pairs.
        """
        first = next(iter(self.pairs.values()))[0]
        labels = torch.full((n,), WITHOUT, device=first.device) if cond is None else cond.to(first.device)
        x0, x1 = (first.new_empty(n, *first.shape[1:]) for _ in range(2))
        for label in labels.unique().tolist():
            if label not in self.pairs:
                raise CouplingError(
                    f"{OWNER}: there are no pairs of label {label}, of which there were no data; "
                    "use pool=0, which makes pairs for each batch"
                )
            places, held = (labels == label).nonzero()[:, 0], self.pairs[label]
            chosen = torch.randint(len(held[0]), (len(places),), generator=generator, device=first.device)
            x0[places], x1[places] = held[0][chosen], held[1][chosen]
        return x0, x1


def label_counts(data: CheckedBatches) -> dict[int, int]:
    """How many events each label has, or all of them together without conditions.

    Raises:
        CouplingError: another condition than labels.
    """
    counts: dict[int, int] = {}
    for x, cond in data:
        check_labels(cond)
        labels = torch.full((len(x),), WITHOUT) if cond is None else cond
        for label, count in zip(*(t.tolist() for t in labels.unique(return_counts=True)), strict=True):
            counts[label] = counts.get(label, 0) + count
    return counts


def some_events(
    data: CheckedBatches,
    counts: Mapping[int, int],
    wanted: Mapping[int, int],
    generator: torch.Generator | None,
) -> dict[int, Tensor]:
    """``wanted`` events of each label ``[M, *event]``, drawn without replacement, in the order of the data.

    Args:
        data: with labels, or without conditions.
        counts: how many there are of each, see :func:`label_counts`.
        wanted: how many of them, at most as many.
        generator: chooses them.
    """
    shape, device = data.peek()[0].shape[1:], None if generator is None else generator.device
    kept = {}
    for label, count in counts.items():
        kept[label] = torch.zeros(count, dtype=torch.bool)
        kept[label][torch.randperm(count, generator=generator, device=device)[: wanted[label]].cpu()] = True
    seen, found = dict.fromkeys(counts, 0), {label: [] for label in counts}
    for x, cond in data:
        for label in [WITHOUT] if cond is None else cond.unique().tolist():
            rows = x if cond is None else x[cond == label]
            mask = kept[label][seen[label] : seen[label] + len(rows)]
            found[label].append(rows[mask.to(rows.device)])
            seen[label] += len(rows)
    return {label: torch.cat(parts).unflatten(1, shape) for label, parts in found.items()}


def shares(total: int, counts: Mapping[int, int]) -> dict[int, int]:
    """``total`` divided as ``counts`` are, at least one each."""
    everything = sum(counts.values())
    return {label: max(1, round(total * count / everything)) for label, count in counts.items()}


def check_labels(cond: Conditions | None) -> None:
    """Refuse conditions whose pairs cannot be told apart by a label.

    Raises:
        CouplingError: it says what to use.
    """
    if cond is None or (isinstance(cond, Tensor) and not cond.is_floating_point() and cond.dim() == 1):
        return
    raise CouplingError(
        f"{OWNER}: expected labels or no condition for a pool of pairs, got {describe_value(cond)}; use "
        "pool=0, which makes pairs for each batch"
    )


def check_bytes(pairs: int, event: Tensor) -> None:
    """Refuse more pairs of events like ``event`` than may be held.

    Raises:
        CouplingError: it says what to do.
    """
    if 2 * pairs * event.numel() * event.element_size() > MOST_BYTES:
        raise CouplingError(
            f"{OWNER}: {pairs} pairs take more than {MOST_BYTES >> 30} GiB; use a smaller pool, or pool=0, "
            "which makes pairs for each batch"
        )
