"""The examples of a data set that an inspection fits priors on, and those that it holds out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.conditions.rows import rows as take
from flowprior.couplings import Coupling
from flowprior.data.base import Data
from flowprior.data.splits import labels_of, split_indices
from flowprior.errors import InputError, OptionError
from flowprior.priors import Prior

HELD_OUT_SHARE = 0.2
"""The share of the examples that is held out."""
FEWEST_EXAMPLES = 10
"""The fewest examples that can be inspected."""
FEWEST_OF_A_LABEL = 3
"""The fewest examples of a label of which one is held out."""
FEW_OF_A_LABEL = 20
"""The number of examples of a label below which there is a warning."""
POOLED = -1
"""The label of all rows together, where there are no labels."""


@dataclass(frozen=True)
class Examples:
    """Two disjoint parts of a training split, divided within each label.

    Attributes:
        x: events to fit on, ``[N, *event]``.
        cond: their condition: labels ``[N]``, embeddings ``[N, E]``, token states, parts or None.
        held_out: events to measure on, ``[M, *event]``.
        held_out_cond: their condition.
        counts: examples of each label in the whole split, ``[C]``; None without labels.
    """

    x: Tensor
    cond: Conditions | None
    held_out: Tensor
    held_out_cond: Conditions | None
    counts: Tensor | None

    @classmethod
    def of(cls, data: Data, limit: int, seed: int = 0) -> Examples:
        """Return at most ``limit`` examples of ``data``, a fifth of each label or of the groups held out.

        A label with fewer than three examples is fitted on and not measured on; one whose share of ``limit``
        rounds to nothing is left out.

        Raises:
            OptionError: a limit below 10.
            InputError: fewer than 10 examples, or no label with three of them.
        """
        chosen, labels, groups = _looked_at(data, limit, seed)
        fit, held_out = _divided(len(chosen), labels, groups, seed)
        every = labels_of(data)
        counts = None if every is None else torch.bincount(every, minlength=data.condition.size)

        def part(rows: Tensor) -> Tensor:
            order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
            return chosen[rows[order]]

        return cls(*data.batch(part(fit)), *data.batch(part(held_out)), counts)

    @property
    def labels(self) -> Tensor | None:
        """The labels ``[N]`` of the rows to fit on; None for embeddings, parts and no condition."""
        return _as_labels(self.cond)

    @property
    def held_out_labels(self) -> Tensor | None:
        """The labels ``[M]`` of the held-out rows; None as above."""
        return _as_labels(self.held_out_cond)

    def groups(self) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yield label, rows to fit on and held-out rows; :data:`POOLED` and all rows without labels."""
        if self.labels is None or self.held_out_labels is None:
            yield POOLED, torch.arange(len(self.x)), torch.arange(len(self.held_out))
            return
        for label in self.held_out_labels.unique().tolist():
            rows, held_out = ((own == label).nonzero()[:, 0] for own in (self.labels, self.held_out_labels))
            yield label, rows, held_out

    def warnings(self) -> list[str]:
        """Return a warning where there are labels with fewer than 20 examples."""
        counts = [] if self.counts is None else self.counts.tolist()
        few, least = sum(count < FEW_OF_A_LABEL for count in counts), min(counts, default=0)
        if not few:
            return []
        none = f", {counts.count(0)} of them none" if least == 0 else ""
        said = f"{few} of {len(counts)} labels have fewer than {FEW_OF_A_LABEL} examples{none}"
        remedy = "give gmm shrinkage=1 or more, or gather more data"
        return [f"{said} (label {counts.index(least)}: {least}); {remedy}"]


def draw_pairs(
    prior: Prior,
    coupling: Coupling,
    x1: Tensor,
    cond: Conditions | None,
    batch: int,
    generator: torch.Generator,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield source samples and data, drawn in batches of ``batch`` or of what the coupling asks for."""
    for rows in torch.arange(len(x1)).split(coupling.draw_size(batch)):
        yield coupling.pairs(prior, x1[rows], take(cond, rows), generator=generator)


def _looked_at(data: Data, limit: int, seed: int) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return rows of ``data``, of each label its share, with their labels and groups.

    Raises:
        OptionError: a limit below 10.
        InputError: fewer than 10 examples, or no label with three of them.
    """
    if limit < FEWEST_EXAMPLES:
        raise OptionError(f"inspect: examples={limit} is not possible; choose {FEWEST_EXAMPLES} or more")
    if len(data) < FEWEST_EXAMPLES:
        few = f"{len(data)} examples; expected {FEWEST_EXAMPLES} or more"
        raise InputError(f"inspect: '{data.name}' has {few}")
    labels, chosen = labels_of(data), torch.arange(len(data))
    if len(data) > limit:
        share = limit / len(data)
        chosen = split_indices(len(data), "test", test_fraction=share, seed=seed, labels=labels)
    own = take(labels, chosen)
    if own is not None and int(torch.bincount(own).max()) < FEWEST_OF_A_LABEL:
        raise InputError(
            f"inspect: no label of '{data.name}' has {FEWEST_OF_A_LABEL} examples, so none can be held "
            "out; pass more data, or a larger examples="
        )
    return chosen, own, None if data.groups is None else data.groups[chosen]


def _divided(count: int, labels: Tensor | None, groups: Tensor | None, seed: int) -> tuple[Tensor, Tensor]:
    """Return rows to fit on and to hold out: a share of each label, or groups of events that are alike."""
    options: dict[str, Any] = {"test_fraction": HELD_OUT_SHARE, "seed": seed}
    if groups is None or len(names := groups.unique()) < round(1 / HELD_OUT_SHARE):
        fit, held_out = (split_indices(count, part, labels=labels, **options) for part in ("train", "test"))
        return fit, held_out
    is_held_out = torch.isin(groups, names[split_indices(len(names), "test", **options)])
    return (~is_held_out).nonzero()[:, 0], is_held_out.nonzero()[:, 0]


def _as_labels(cond: Conditions | None) -> Tensor | None:
    return cond if isinstance(cond, Tensor) and not cond.is_floating_point() else None
