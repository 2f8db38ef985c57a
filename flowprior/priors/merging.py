"""Class priors made of others by their moments: of two together, or without some labels.

Counts, means and scatters of two sets of rows join exactly (Chan, Golub & LeVeque 1979), so that the result
is what a fit to all of the rows gives, to rounding. The prior ``gmm`` of one component follows from these
moments, and keeps them with ``keep_moments=true``.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from flowprior.errors import InputError
from flowprior.priors.asked import named
from flowprior.priors.base import Prior
from flowprior.priors.gmm import GmmPrior
from flowprior.registry import spec_of


def merge(first: Prior, second: Prior) -> GmmPrior:
    """Return the prior that a fit to the data of both priors would give; both stay as they are.

    A network that was trained with one of them has not seen the labels of the other.

    Args:
        first: a ``gmm`` fitted to events ``[*event]`` and labels with ``keep_moments=true``.
        second: one of the same options and event shape; its labels may be new or those of ``first``.

    Raises:
        InputError: priors that keep no moments of labels, or are not alike.
    """
    one, other = _keeping(first, "merge"), _keeping(second, "merge")
    kinds = [f"{spec_of(Prior.registry, each)} of events {list(each.event_shape)}" for each in (one, other)]
    if kinds[0] != kinds[1]:
        raise InputError(
            f"merge: expected two priors of the same options and events, got {' and '.join(kinds)}"
        )
    moments = one.moments()
    moments.merge(other.moments())
    return one.with_moments(moments)


def drop(prior: Prior, labels: Iterable[int] | Tensor) -> GmmPrior:
    """Return the prior that a fit without the rows of ``labels`` would give; ``prior`` stays as it is.

    Args:
        prior: a ``gmm`` fitted to labels with ``keep_moments=true``.
        labels: those that are dropped, ``[n]``; they are then like labels that the fit did not see.

    Raises:
        InputError: a prior that keeps no moments of labels, a label that it does not have, or none left.
    """
    kept = _keeping(prior, "drop")
    moments, chosen = kept.moments(), torch.as_tensor(list(labels), dtype=torch.long).unique()
    known = moments.count.nonzero()[:, 0]
    unknown = chosen[~torch.isin(chosen, known)]
    if len(unknown):
        raise InputError(f"drop: {named(unknown.tolist())} not among those that were fitted")
    if len(chosen) == len(known):
        raise InputError("drop: no label would be left; keep one, or fit a new prior")
    for table in (moments.count, moments.mean, moments.scatter):
        table[chosen] = 0
    return kept.with_moments(moments)


def _keeping(prior: Prior, owner: str) -> GmmPrior:
    """``prior``, where it keeps moments of labels."""
    if not isinstance(prior, GmmPrior) or not prior.keep_moments or not len(prior.count):
        raise InputError(
            f"{owner}: expected a prior 'gmm' that was fitted to labels with keep_moments=true, got {prior}; "
            "fit it so, or fit a prior to all data"
        )
    return prior
