"""Conditions of a fitted prior that are added, learned anew or dropped, without a fit of the others."""

from __future__ import annotations

import abc
from collections.abc import Iterable
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from flowprior.data.stream import CheckedBatches, FitData
from flowprior.errors import InputError
from flowprior.priors.base import Prior
from flowprior.priors.labels import named
from flowprior.priors.one_thread import one_thread

P = TypeVar("P", bound="UpdatablePrior")


class UpdatablePrior(Prior, abc.ABC):
    """Base class of priors over labels whose labels can be changed one by one.

    A flow that was trained with the prior knows nothing of a change: its network may be asked for labels that
    it never saw, and a ``Flow`` says so when it is loaded.

    Subclasses implement :meth:`_update` and :meth:`_drop`.
    """

    @torch.no_grad()
    def update(self: P, data: FitData, *, generator: torch.Generator | None = None) -> P:
        """Learn labels that are in ``data``, new or known ones, leave the others alone, and return ``self``.

        Where the prior keeps moments (``gmm:keep_moments=true``), the data are further examples, and what
        comes out is a fit to all examples together. Else they are all the examples of their labels, which are
        fitted to them alone: what the prior has learned from all labels together, such as the law of the null
        condition, stays as it was.

        Args:
            data: as of :meth:`fit`, with labels.
            generator: source of the randomness of the fit.

        Raises:
            NotFittedError: the prior was not fitted.
            InputError: events of another shape, no labels, or what labels learn from each other: fit again.
        """
        self._require_fitted("update")
        stream = CheckedBatches(data, owner=self.name, read=partial(self.reading, method="update"))
        first, cond = stream.peek()
        if first.shape[1:] != self.event_shape:
            expected, got = list(self.event_shape), list(first.shape[1:])
            raise InputError(f"{self.name}.update: expected events of shape {expected}, got {got}")
        if cond is None or cond.is_floating_point() or not self._has_labels:
            raise InputError(
                f"{self.name}.update: expected a prior that was fitted with labels, and labels with the data"
            )
        device = self.event_dims.device
        with one_thread():
            labels = self._update(stream, generator)
        self.to(device)
        self.changes.append(f"{named(labels.tolist())} updated")
        self.forget_mean_of_all()
        return self

    @torch.no_grad()
    def drop(self: P, labels: Iterable[int] | Tensor) -> P:
        """Forget these labels, which are from now on like those that fit did not see, and return ``self``.

        Raises:
            NotFittedError: the prior was not fitted.
            InputError: a label that the prior does not know, or none that is left.
        """
        self._require_fitted("drop")
        if not self._has_labels:
            raise InputError(f"{self.name}.drop: the prior was fitted without labels; there is none to drop")
        chosen = torch.as_tensor(list(labels), dtype=torch.long).unique()
        known = self._labels().cpu()
        unknown = chosen[~torch.isin(chosen, known)]
        if len(unknown):
            raise InputError(f"{self.name}.drop: {named(unknown.tolist())} not among those that were fitted")
        if len(chosen) == len(known):
            raise InputError(f"{self.name}.drop: no label would be left; keep one, or fit a new prior")
        if len(chosen):
            with one_thread():
                self._drop(chosen)
            self.changes.append(f"{named(chosen.tolist())} dropped")
            self.forget_mean_of_all()
        return self

    @property
    @abc.abstractmethod
    def _has_labels(self) -> bool:
        """Whether the prior was fitted with labels."""

    @property
    def highest_label(self) -> int:
        """The highest one that has examples; -1 without labels."""
        return int(self._labels().max()) if self._has_labels else -1

    @abc.abstractmethod
    def _labels(self) -> Tensor:
        """Labels that can be asked for, ``[M]``."""

    @abc.abstractmethod
    def _update(self, data: CheckedBatches, generator: torch.Generator | None) -> Tensor:
        """Learn the labels in ``data``; those labels ``[m]``."""

    @abc.abstractmethod
    def _drop(self, labels: Tensor) -> None:
        """Forget ``labels`` ``[m]``."""


def spliced(
    table: Tensor, new: Tensor, labels: Tensor, size: int, fill: float | Tensor = 0.0, *, last: bool = True
) -> Tensor:
    """``table`` with rows ``labels`` ``[m]`` of ``new`` in the place of its own, or beside them.

    Args:
        table: ``[C, …]``, or ``[C + 1, …]`` with a last row that is no label's and stays last.
        new: the same of other labels, at least up to the largest of ``labels``.
        labels: which of them are taken.
        size: C afterwards.
        fill: of rows that no label has, and of further entries in the second dimension.
        last: whether there is such a last row.
    """
    columns = (max(table.shape[1], new.shape[1]),) if table.dim() > 1 else ()
    found = table.new_empty(size + last, *columns, *table.shape[2:])
    found[:] = fill
    own = found[:, : table.shape[1]] if columns else found
    rows = len(table) - last
    own[:rows] = table[:rows]
    own[size:] = table[rows:]
    found[labels] = torch.as_tensor(fill).to(found)
    (found[:, : new.shape[1]] if columns else found)[labels] = new[labels].to(found)
    return found
