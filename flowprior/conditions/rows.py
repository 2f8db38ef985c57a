"""A condition from a mapping, its rows (a tensor, token states, parts or None), and the parts that are read.

With ``reads=""`` a component reads every part that it can. A prior reads one part: the only part of a kind
that it knows, or the one that ``reads`` names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from flowprior.conditions.values import Conditions, Parts, TensorGroup, TokenStates, describe_value, kind_of
from flowprior.errors import InputError

C = TypeVar("C", bound=Conditions)
MASK = "mask"
"""The last part of the name of a stored mask, after a dot."""
BETWEEN = "+"
"""The separator between the names of several parts, as in ``reads=caption+style``."""


def as_value(cond: Any) -> Any:
    """Return a mapping as :class:`Parts`, and any other value unchanged.

    Raises:
        InputError: parts that :class:`Parts` refuses.
    """
    return Parts(cond) if isinstance(cond, Mapping) else cond


def rows(cond: C | None, index: Any) -> C | None:
    """Return rows of ``cond`` by a slice, int64 ``[M]`` or bool ``[B]``."""
    found: Any = cond
    return None if found is None else found[index]


def moved(cond: C | None, device: torch.device | str, *, non_blocking: bool = False) -> C | None:
    """Return ``cond`` on ``device``."""
    found: Any = cond
    return None if found is None else found.to(device, non_blocking=non_blocking)


def pinned(cond: C) -> C:
    """Return ``cond`` in pinned memory, from which copies to a GPU run in the background."""
    found: Any = cond
    return cast("C", found.mapped(_pinned) if isinstance(found, TensorGroup) else _pinned(found))


def _pinned(x: Tensor) -> Tensor:
    return x.pin_memory() if x.device.type == "cpu" else x


def flat(cond: Tensor) -> Tensor:
    """Return images and other tensors ``[B, …]`` as rows ``[B, E]``, labels and embeddings unchanged."""
    return cond.flatten(1) if cond.is_floating_point() and cond.dim() > 2 else cond


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


def repeated(cond: C | None, times: int) -> C | None:
    """Return each row of ``cond`` repeated ``times`` times, one after the other."""
    if cond is None:
        return None
    return rows(cond, torch.arange(len(cond), device=cond.device).repeat_interleave(times))


def pieces(cond: C | None, size: int, count: int) -> Sequence[C | None]:
    """Return consecutive pieces of ``size`` rows, as ``x.split(size)`` does for x of ``count`` rows."""
    found: Any = cond
    return [None] * max(1, -(-count // size)) if found is None else found.split(size)


def joined(parts: Sequence[C | None]) -> C | None:
    """Join the rows of all ``parts``, one after the other; None if all of them are None.

    Token states are padded to the longest.

    Raises:
        InputError: conditions of different kinds.
    """
    given: Any = [part for part in parts if part is not None]
    if not given:
        return None
    if len(given) < len(parts) or len({type(part) for part in given}) > 1:
        raise InputError(f"conditions: expected one kind, got {'; '.join(map(describe_value, parts))}")
    if isinstance(given[0], Tensor):
        return cast("C", torch.cat(given))
    if isinstance(given[0], TokenStates):
        length = max(part.states.shape[1] for part in given)
        padded = [part.padded(length) for part in given]
        tokens = TokenStates(torch.cat([p.states for p in padded]), torch.cat([p.mask for p in padded]))
        return cast("C", tokens)
    if len({part.names for part in given}) > 1:
        raise InputError(
            f"conditions: expected the same parts, got {'; '.join(', '.join(part.names) for part in given)}"
        )
    found: Any = {name: joined([part[name] for part in given]) for name in given[0].names}
    return cast("C", Parts(found))


def chosen(mask: Tensor, first: C, second: C) -> C:
    """Return the rows of ``first`` where ``mask`` ``[B]`` is True, else those of ``second``."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return cast("C", torch.where(mask.view(-1, *[1] * (second.dim() - 1)), first, second))
    assert isinstance(first, TensorGroup)
    assert isinstance(second, TensorGroup)
    others = iter(second.tensors().values())
    return cast("C", first.mapped(lambda tensor: chosen(mask, tensor, next(others))))


def equal(first: Conditions | None, second: Conditions | None) -> bool:
    """Return whether both hold the same numbers, on whatever device."""
    a, b = named_tensors(first), named_tensors(second)
    return a.keys() == b.keys() and all(torch.equal(a[name].cpu(), b[name].cpu()) for name in a)


def named_tensors(cond: Conditions | None, name: str = "cond") -> dict[str, Tensor]:
    """Return every tensor of ``cond`` by its name in files.

    A tensor is named ``name``, a part ``name.PART``; the mask of token states ends in ``.mask`` besides.
    """
    if cond is None:
        return {}
    tensors = {"": cond} if isinstance(cond, Tensor) else cond.tensors()
    return {name + (f".{place}" if place else ""): tensor for place, tensor in tensors.items()}


def value_of_tensors(stored: Mapping[str, Any], name: str = "cond", owner: str = "condition") -> Any:
    """Return the condition that :func:`named_tensors` named; its parts, if it has some, as a dictionary.

    Args:
        stored: tensors or arrays by name.
        name: the name of the condition.
        owner: the file, for messages.

    Raises:
        InputError: both the condition and parts of it, or a mask without states.
    """
    places = {
        key.removeprefix(f"{name}."): value for key, value in stored.items() if key.startswith(f"{name}.")
    }
    if name in stored:
        beside = sorted(place for place in places if place != MASK)
        if beside:
            raise InputError(
                f"{owner}: expected either {name} or parts of it, got both {name} and {name}.{beside[0]}"
            )
        return _with_mask(stored[name], places.get(MASK))
    masks = {place.removesuffix(f".{MASK}") for place in places if place.endswith(f".{MASK}")}
    parts = {place: value for place, value in places.items() if not place.endswith(f".{MASK}")}
    without_states = sorted(masks - parts.keys())
    if without_states:
        place = f"{name}.{without_states[0]}"
        raise InputError(f"{owner}: expected token states {place} for the mask {place}.{MASK}, got none")
    return {place: _with_mask(value, places.get(f"{place}.{MASK}")) for place, value in parts.items()} or None


def _with_mask(value: Any, mask: Any) -> Any:
    return value if mask is None else TokenStates(value, mask.bool() if isinstance(mask, Tensor) else mask)


def read_part(
    cond: Conditions | None, reads: str, takes: Sequence[str], owner: str, name: str
) -> Tensor | None:
    """Return the one part that a component reads; a single tensor is returned unchanged.

    Args:
        cond: the condition of each row.
        reads: the name of the part; empty for the only part of a kind in ``takes``.
        takes: the kinds that the component can read; none for a component that reads no condition.
        owner: the function that reads, for messages, such as ``"gmm.fit"``.
        name: the name of the component, for the advice in messages.

    Raises:
        InputError: no part of this name or of these kinds, or several such parts if ``reads`` is empty.
    """
    if cond is None or isinstance(cond, Tensor):
        return cond
    if not takes:
        return None
    part = cond if isinstance(cond, TokenStates) else cond[_named(cond, reads, takes, owner, name)]
    if isinstance(part, TokenStates):
        raise InputError(f"{owner}: expected {' or '.join(takes)}, got {describe_value(cond)}")
    return part


def _named(cond: Parts, reads: str, takes: Sequence[str], owner: str, name: str) -> str:
    """Return the name of the part to read; the only part is chosen even if its kind does not fit."""
    if reads:
        if reads not in cond:
            raise InputError(f"{owner}: reads='{reads}' names no part; there are {', '.join(cond.names)}")
        return reads
    fitting = [part for part, value in cond.items() if kind_of(value) in takes]
    if len(fitting) == 1 or len(cond.names) == 1:
        return (fitting or cond.names)[0]
    if not fitting:
        raise InputError(
            f"{owner}: expected {' or '.join(takes)} among the parts, got {describe_value(cond)}"
        )
    raise InputError(
        f"{owner}: the condition has several parts that it could read: {', '.join(fitting)}; choose one, as "
        f"in {name}:reads={fitting[0]}"
    )


def choose_parts(names: Sequence[str], reads: str, owner: str) -> tuple[str, ...]:
    """Return the names in ``reads``, separated by ``+``; all of ``names`` if ``reads`` is empty.

    Raises:
        InputError: a name of no part.
    """
    wanted = tuple(reads.split(BETWEEN)) if reads else tuple(names)
    unknown = [name for name in wanted if name not in names]
    if unknown:
        known = ", ".join(names) or "no parts in this condition"
        raise InputError(f"{owner}: reads='{reads}' names no part '{unknown[0]}'; there are {known}")
    return wanted


def labels_in(cond: Conditions | None) -> Tensor | None:
    """Return the labels int64 ``[B]``, the condition itself or its only part of this kind; else None."""
    found = _of_kind(cond, "labels")
    return found[0] if len(found) == 1 else None


def label_groups(cond: Conditions | None) -> Tensor | None:
    """Return a number int64 ``[B]`` for each combination of all labels of a row; None without labels."""
    found = _of_kind(cond, "labels")
    if len(found) < 2:
        return found[0] if found else None
    return torch.stack(found, 1).unique(dim=0, return_inverse=True)[1]


def embeddings_in(cond: Conditions | None) -> Tensor | None:
    """Return all embeddings of a row side by side, floating point ``[B, ΣE]``; None without any.

    The means of token states stand in for missing embeddings. Tensors of other shapes do not count; see
    :func:`numbers_in`.
    """
    return _side_by_side(
        _of_kind(cond, "embeddings") or [tokens.means() for tokens in _of_kind(cond, "tokens")]
    )


def numbers_in(cond: Conditions | None) -> Tensor | None:
    """Return all embeddings and flattened tensors of a row side by side ``[B, N]``; None without any."""
    embeddings = embeddings_in(cond)
    tensors = [tensor.flatten(1) for tensor in _of_kind(cond, "tensor")]
    return _side_by_side(tensors if embeddings is None else [embeddings, *tensors])


def _of_kind(cond: Conditions | None, kind: str) -> list[Any]:
    """Return the condition itself, or its parts, as far as they are of this kind."""
    values = [part for _, part in cond.items()] if isinstance(cond, Parts) else [cond]
    return [value for value in values if value is not None and kind_of(value) == kind]


def _side_by_side(rows: list[Tensor]) -> Tensor | None:
    return torch.cat(rows, 1) if len(rows) > 1 else rows[0] if rows else None
