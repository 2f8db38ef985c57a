"""The rows of a condition, whatever it is (a tensor, token states, parts, or None), and who reads which part.

``reads=""`` is everything that can be taken. A prior takes one part: the only one of a kind that it knows, or
the one that is named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from flowprior.conditions.values import Carried, Conditions, Parts, TokenStates, describe_value, kind_of
from flowprior.errors import InputError

C = TypeVar("C", bound=Conditions)
MASK = "mask"
"""What the name of a stored mask ends in, after a dot."""
BETWEEN = "+"
"""Between the names of several parts, as in ``reads=caption+style``."""


def rows(cond: C | None, index: Any) -> C | None:
    """Rows of ``cond``, by a slice, int64 ``[M]`` or bool ``[B]``."""
    found: Any = cond
    return None if found is None else found[index]


def moved(cond: C | None, device: torch.device | str, *, non_blocking: bool = False) -> C | None:
    """``cond`` on ``device``."""
    found: Any = cond
    return None if found is None else found.to(device, non_blocking=non_blocking)


def pinned(cond: C) -> C:
    """``cond`` in memory that is locked to its place, from which a copy to a GPU does not keep the host."""
    found: Any = cond
    return cast("C", found.mapped(_pinned) if isinstance(found, Carried) else _pinned(found))


def _pinned(x: Tensor) -> Tensor:
    return x.pin_memory() if x.device.type == "cpu" else x


def flat(cond: Tensor) -> Tensor:
    """Pictures and other tensors ``[B, …]`` as rows ``[B, E]``; labels and embeddings as they are."""
    return cond.flatten(1) if cond.is_floating_point() and cond.dim() > 2 else cond


def repeated(cond: C | None, times: int) -> C | None:
    """Each row of ``cond`` ``times`` times, one after the other."""
    if cond is None:
        return None
    return rows(cond, torch.arange(len(cond), device=cond.device).repeat_interleave(times))


def pieces(cond: C | None, size: int, count: int) -> Sequence[C | None]:
    """Consecutive pieces of ``size`` rows, as ``x.split(size)`` of ``count`` rows gives them."""
    found: Any = cond
    return [None] * max(1, -(-count // size)) if found is None else found.split(size)


def joined(parts: Sequence[C | None]) -> C | None:
    """The rows of all ``parts``, one after the other; None where they are None.

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
    """The rows of ``first`` where ``mask`` ``[B]`` holds, else those of ``second``; both of one shape."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return cast("C", torch.where(mask.view(-1, *[1] * (second.dim() - 1)), first, second))
    assert isinstance(first, Carried)
    assert isinstance(second, Carried)
    others = iter(second.tensors().values())
    return cast("C", first.mapped(lambda tensor: chosen(mask, tensor, next(others))))


def equal(first: Conditions | None, second: Conditions | None) -> bool:
    """Whether both hold the same numbers, on whatever device."""
    a, b = named_tensors(first), named_tensors(second)
    return a.keys() == b.keys() and all(torch.equal(a[name].cpu(), b[name].cpu()) for name in a)


def named_tensors(cond: Conditions | None, name: str = "cond") -> dict[str, Tensor]:
    """Every tensor of ``cond`` under the name that files hold it by.

    A tensor is ``name`` itself, a part ``name.PART``; the mask of token states has ``.mask`` behind it.
    """
    if cond is None:
        return {}
    tensors = {"": cond} if isinstance(cond, Tensor) else cond.tensors()
    return {name + (f".{place}" if place else ""): tensor for place, tensor in tensors.items()}


def value_of_tensors(stored: Mapping[str, Any], name: str = "cond", owner: str = "condition") -> Any:
    """What :func:`named_tensors` wrote: a tensor, token states, a dictionary of parts, or None.

    Args:
        stored: tensors or arrays by name.
        name: of the condition.
        owner: whose they are, for messages.

    Raises:
        InputError: parts beside a condition without a name, or a mask without states.
    """
    places = {
        key.removeprefix(f"{name}."): value for key, value in stored.items() if key.startswith(f"{name}.")
    }
    if name in stored:
        beside = sorted(place for place in places if place != MASK)
        if beside:
            raise InputError(
                f"{owner}: expected either {name} alone or parts of it, got both {name} and "
                f"{name}.{beside[0]}"
            )
        return _with_mask(stored[name], places.get(MASK))
    masks = {place.removesuffix(f".{MASK}") for place in places if place.endswith(f".{MASK}")}
    parts = {place: value for place, value in places.items() if not place.endswith(f".{MASK}")}
    alone = sorted(masks - parts.keys())
    if alone:
        place = f"{name}.{alone[0]}"
        raise InputError(f"{owner}: expected token states {place} to the mask {place}.{MASK}, got none")
    return {place: _with_mask(value, places.get(f"{place}.{MASK}")) for place, value in parts.items()} or None


def _with_mask(value: Any, mask: Any) -> Any:
    return value if mask is None else TokenStates(value, mask.bool() if isinstance(mask, Tensor) else mask)


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
    part = cond if isinstance(cond, TokenStates) else cond[_named(cond, reads, takes, owner, name)]
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
