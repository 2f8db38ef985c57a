"""Who reads what: the part of a condition that a prior takes, and the parts that a coupling or network does.

``reads=""`` is everything that can be taken. A prior takes one part: the only one of a kind that it knows, or
the one that is named.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flowprior.conditions.values import Conditions, Parts, TokenStates, describe_value, kind_of
from flowprior.errors import InputError

BETWEEN = "+"
"""Between the names of several parts, as in ``reads=caption+style``."""


def read_part(
    cond: Conditions | None, reads: str, takes: Sequence[str], owner: str, name: str
) -> Tensor | None:
    """The one part that a component reads; a tensor without a name is read as it is.

    Args:
        cond: of each row.
        reads: name of the part; empty for the only one of a kind in ``takes``.
        takes: kinds that the component can read; none for one that reads no condition.
        owner: who asks, such as ``"gmm.fit"``.
        name: of the component, for the hint.

    Raises:
        InputError: no part of this name or of these kinds, or several where none is named.
    """
    if cond is None or isinstance(cond, Tensor):
        return cond
    if not takes:
        return None
    if isinstance(cond, TokenStates):
        raise InputError(f"{owner}: expected {_either(takes)}, got {describe_value(cond)}")
    part = cond[_named(cond, reads, takes, owner, name)]
    if isinstance(part, TokenStates):
        raise InputError(f"{owner}: expected {_either(takes)}, got {describe_value(cond)}")
    return part


def _named(cond: Parts, reads: str, takes: Sequence[str], owner: str, name: str) -> str:
    """The name of the part to read; of a single part that does not fit, too: its reader says why."""
    if reads:
        if reads not in cond:
            raise InputError(f"{owner}: reads='{reads}' names no part; there are {', '.join(cond.names)}")
        return reads
    fitting = [part for part, value in cond.items() if kind_of(value) in takes]
    if len(fitting) == 1 or len(cond.names) == 1:
        return (fitting or cond.names)[0]
    if not fitting:
        raise InputError(f"{owner}: expected {_either(takes)} among the parts, got {describe_value(cond)}")
    raise InputError(
        f"{owner}: the condition has several parts that it could read: {', '.join(fitting)}; choose one, as "
        f"in {name}:reads={fitting[0]}"
    )


def choose_parts(names: Sequence[str], reads: str, owner: str) -> tuple[str, ...]:
    """The names in ``reads``, one or several with ``+`` between them; all of ``names`` where it is empty.

    Raises:
        InputError: one that is no part.
    """
    wanted = tuple(reads.split(BETWEEN)) if reads else tuple(names)
    unknown = [name for name in wanted if name not in names]
    if unknown:
        known = ", ".join(names) or "no parts in this condition"
        raise InputError(f"{owner}: reads='{reads}' names no part '{unknown[0]}'; there are {known}")
    return wanted


def labels_in(cond: Conditions | None) -> Tensor | None:
    """Labels int64 ``[B]``: the condition itself, or the only part of this kind; else None."""
    if isinstance(cond, Tensor):
        return None if cond.is_floating_point() else cond
    if not isinstance(cond, Parts):
        return None
    found = [part for _, part in cond.items() if isinstance(part, Tensor) and kind_of(part) == "labels"]
    return found[0] if len(found) == 1 else None


def label_groups(cond: Conditions | None) -> Tensor | None:
    """A number int64 ``[B]`` for each combination of all labels of a row; None where there are none."""
    if not isinstance(cond, Parts):
        return labels_in(cond)
    found = [part for _, part in cond.items() if isinstance(part, Tensor) and kind_of(part) == "labels"]
    if len(found) < 2:
        return found[0] if found else None
    return torch.stack(found, 1).unique(dim=0, return_inverse=True)[1]


def embeddings_in(cond: Conditions | None) -> Tensor | None:
    """All embeddings of a row side by side, floating point ``[B, ΣE]``; None where there are none.

    Token states count by their mean, where there is no embedding. Tensors of other shapes are none: see
    :func:`numbers_in`.
    """
    if cond is None or isinstance(cond, Tensor):
        return cond if cond is not None and kind_of(cond) == "embeddings" else None
    if isinstance(cond, TokenStates):
        return cond.means()
    found = [part for _, part in cond.items() if isinstance(part, Tensor) and kind_of(part) == "embeddings"]
    means = [part.means() for _, part in cond.items() if isinstance(part, TokenStates)]
    beside = found or means
    return torch.cat(beside, 1) if len(beside) > 1 else beside[0] if beside else None


def numbers_in(cond: Conditions | None) -> Tensor | None:
    """All numbers of a row side by side, floating point ``[B, N]``: embeddings, and tensors as rows.

    None where there are none; labels are none.
    """
    tensors = [part for _, part in cond.items()] if isinstance(cond, Parts) else [cond]
    rows = [part.flatten(1) for part in tensors if isinstance(part, Tensor) and kind_of(part) == "tensor"]
    embeddings = embeddings_in(cond)
    rows = rows if embeddings is None else [embeddings, *rows]
    return torch.cat(rows, 1) if len(rows) > 1 else rows[0] if rows else None


def _either(takes: Sequence[str]) -> str:
    return " or ".join(takes)
