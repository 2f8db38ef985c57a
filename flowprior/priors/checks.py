"""The checks of what a prior is fitted with and asked for: counts, events and labels."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from flowprior.conditions import Conditions, Parts, TokenStates
from flowprior.conditions.values import describe_value
from flowprior.errors import InputError


def count_of(owner: str, cond: Conditions | None, n: int | None) -> int:
    """Return the number of samples that are asked for, by their conditions or by ``n``.

    Raises:
        InputError: neither says so, or they disagree; ``owner`` is named.
    """
    if cond is None and n is None:
        raise InputError(f"{owner}: expected cond or n, got neither; pass n= for an unconditional draw")
    if isinstance(cond, Tensor) and not cond.dim():
        raise InputError(f"{owner}: expected one condition for each sample, got a single {cond.dtype}")
    if cond is not None and n is not None and n != len(cond):
        raise InputError(f"{owner}: cond has {len(cond)} rows but n={n}; pass one of them")
    if cond is None and n is not None and n < 0:
        raise InputError(f"{owner}: expected n >= 0, got {n}")
    return len(cond) if cond is not None else int(n or 0)


def check_events(owner: str, x: Tensor, event_shape: Sequence[int], cond: Conditions | None = None) -> None:
    """Check events x ``[B, *event]``, and that there is one condition for each of them.

    Raises:
        InputError: what was expected, and what came; ``owner`` is named.
    """
    if x.shape[1:] != torch.Size(event_shape) or not x.is_floating_point():
        event = ", ".join(map(str, event_shape))
        got = f"{x.dtype} of shape {list(x.shape)}"
        raise InputError(f"{owner}: expected floating-point x of shape [B, {event}], got {got}")
    expected = f"{owner}: expected one condition for each row, x has {len(x)} rows but cond has"
    if isinstance(cond, Tensor) and cond.shape[:1] != x.shape[:1]:
        raise InputError(f"{expected} shape {list(cond.shape)}")
    if isinstance(cond, Parts | TokenStates) and len(cond) != len(x):
        raise InputError(f"{expected} {len(cond)} ({describe_value(cond)})")


def check_finite(x: Tensor, method: str) -> None:
    """Refuse rows ``[B, *event]`` with NaN or infinity; one sum where all is well.

    Raises:
        InputError: how many rows hold some.
    """
    if bool(torch.isfinite(x.detach().sum())):
        return
    bad = int((~torch.isfinite(x)).flatten(1).any(1).sum())
    if bad:
        raise InputError(
            f"{method}: expected finite x1, got NaN or infinity in {bad} of {len(x)} rows; clean or drop them"
        )


NAMED = 5
"""Labels that a message names."""


def named(labels: Sequence[int], names: Sequence[str] | None = None) -> str:
    """``label 3``, or ``labels 3, 4 and 7 more``; by their ``names``, where they have some."""
    shown = [str(label) if names is None else names[label] for label in labels[:NAMED]]
    more = f" and {len(labels) - NAMED} more" if len(labels) > NAMED else ""
    return f"label{'s' * (len(labels) > 1)} {', '.join(shown)}{more}"


def check_fit_labels(owner: str, cond: Tensor | None, advice: str) -> None:
    """Refuse a condition that is neither labels ``[B]`` nor None.

    Args:
        owner: whose fit it is.
        cond: the condition of some rows.
        advice: what to do with other conditions.

    Raises:
        InputError: it is floating-point, or has another shape.
    """
    if cond is not None and (cond.is_floating_point() or cond.dim() != 1):
        raise InputError(
            f"{owner}.fit: expected labels as integers [B] or None, got {cond.dtype} {list(cond.shape)}; "
            f"{advice}"
        )


def check_examples(owner: str, count: Tensor, components: int, shrinkage: float, *, named: bool) -> None:
    """Look at how many examples each condition has, ``count`` ``[C]``; those without are met at sampling.

    More components than examples have no maximum-likelihood fit. With shrinkage they have one, of as many
    components as there are distinct examples at the most, and a warning says so.

    Args:
        owner: for warnings.
        count: examples of each condition.
        components: K, of each condition's mixture.
        shrinkage: examples' worth of the pooled moments in each component.
        named: whether the conditions are labels; False for the one of data without a condition.

    Raises:
        InputError: fewer examples than components, and no shrinkage.
    """
    few, single = ((count > 0) & (count < components)).nonzero()[:, 0], (count == 1).nonzero()[:, 0]
    if len(few) and shrinkage > 0:
        _warn(
            f"{owner}.fit: {_named(few)} fewer examples than components={components}, down to "
            f"{int(count[few].min())}, and gets at most one component an example; lower components"
        )
    elif len(few):
        which = int(few[0])
        where = f"condition {which} has" if named else "the data set has"
        raise InputError(
            f"gmm.fit: {where} {int(count[which])} example(s), fewer than components={components}; "
            f"lower components, or set shrinkage > 0"
        )
    elif named and shrinkage <= 0 and len(single):
        _warn(
            f"{owner}.fit: {_named(single)} one example, so its source samples are nearly copies of it; set "
            "shrinkage > 0, such as 1, to give it a share of the spread of all data"
        )


@contextmanager
def explaining_degenerate(owner: str, reg_covar: float) -> Iterator[None]:
    """Turn a singular covariance into an InputError that says what to do."""
    try:
        yield
    except torch.linalg.LinAlgError as error:
        raise InputError(
            f"{owner}.fit: there is no spread in some dimension and reg_covar={reg_covar}, so there is no "
            "density; set reg_covar > 0, such as 1e-6"
        ) from error


def warn_of_singles(owner: str, labels: Tensor, count: Tensor) -> None:
    """Say which ``labels`` ``[M]`` have one example, ``count`` ``[M]``, and where their spread comes from."""
    single = labels[count == 1]
    if len(single):
        _warn(
            f"{owner}.fit: {_named(single)} one example, which has no spread: its prior has the spread that "
            "labels have in common; give it more examples"
        )


def _named(labels: Tensor) -> str:
    return f"{'each of ' * (len(labels) > 1)}{named(labels.tolist())} has"


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=3)
