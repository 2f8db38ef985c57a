"""Warnings of labels with too few examples for what is fitted to them."""

from __future__ import annotations

import warnings

from torch import Tensor

NAMED = 5
"""Labels that a warning names."""


def warn_of_singles(owner: str, labels: Tensor, count: Tensor) -> None:
    """Say which ``labels`` ``[M]`` have one example, ``count`` ``[M]``, and where their spread comes from."""
    single = labels[count == 1]
    if len(single):
        _warn(
            f"{owner}.fit: {_named(single)} one example, which has no spread: its prior goes halfway to the "
            "mean and spread of all data; give it more examples"
        )


def warn_of_copies(owner: str, labels: Tensor, count: Tensor) -> None:
    """Say which labels have one example and nothing else to take a spread from."""
    single = labels[count == 1]
    if len(single):
        _warn(
            f"{owner}.fit: {_named(single)} one example, so its source samples are nearly copies of it; set "
            "shrinkage > 0, such as 1, to give it a share of the spread of all data"
        )


def warn_of_few(owner: str, labels: Tensor, count: Tensor, components: int) -> None:
    """Say which labels have fewer examples than components, and what they get."""
    few = (count > 0) & (count < components)
    if bool(few.any()):
        _warn(
            f"{owner}.fit: {_named(labels[few])} fewer examples than components={components}, down to "
            f"{int(count[few].min())}, and gets at most one component an example; lower components"
        )


def _named(labels: Tensor) -> str:
    names = ", ".join(str(int(label)) for label in labels[:NAMED])
    if len(labels) == 1:
        return f"label {names} has"
    return f"each of labels {names}{', …' if len(labels) > NAMED else ''} ({len(labels)} in all) has"


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=3)
