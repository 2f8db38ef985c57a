"""The values of a condition that are several tensors: token states with a mask, and named parts.

Both are used as a tensor is: ``len`` counts rows, an index takes rows, and ``.to``, ``.split``, ``.cpu``,
``.detach`` and ``.clone`` act on every tensor inside. A part may be a tensor of any shape.
"""

from __future__ import annotations

import abc
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self, overload

import torch
from torch import Tensor

from flowprior.errors import InputError

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
"""The names that a part may have, which can stand in a spec string and in the name of a stored tensor."""


class TensorGroup(abc.ABC):
    """The base class of conditions that consist of several tensors with the same rows."""

    @abc.abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return each tensor by its place: ``""`` for states, ``"mask"``, ``"style"``, ``"style.mask"``."""

    @abc.abstractmethod
    def mapped(self, change: Callable[[Tensor], Tensor]) -> Self:
        """Return a group with ``change`` applied to each tensor."""

    @property
    def device(self) -> torch.device:
        """The device of the tensors."""
        return next(iter(self.tensors().values())).device

    def __len__(self) -> int:
        return len(next(iter(self.tensors().values())))

    def to(self, *args: Any, **options: Any) -> Self:
        """Apply ``Tensor.to`` to each tensor; only floating-point tensors are cast to another type."""
        return self.mapped(lambda tensor: _converted(tensor, *args, **options))

    def cpu(self) -> Self:
        """Return a copy on the CPU."""
        return self.mapped(Tensor.cpu)

    def detach(self) -> Self:
        """Return the group detached from the autograd graph."""
        return self.mapped(Tensor.detach)

    def clone(self) -> Self:
        """Return a copy of every tensor."""
        return self.mapped(Tensor.clone)

    def split(self, size: int) -> list[Self]:
        """Return consecutive pieces of ``size`` rows; the last piece may have fewer."""
        return [self._taken(slice(start, start + size)) for start in range(0, max(len(self), 1), size)]

    def _taken(self, index: Any) -> Self:
        return self.mapped(lambda tensor: tensor[index])


@dataclass(frozen=True, eq=False)
class TokenStates(TensorGroup):
    """The states of the tokens of a text (or of any set), padded to one length, with a mask.

    Attributes:
        states: floating point ``[B, T, F]``.
        mask: bool ``[B, T]``, True for a token that is attended; :meth:`Condition.check` refuses a row
            without one.

    Raises:
        InputError: other shapes or types.
    """

    states: Tensor
    mask: Tensor

    def __post_init__(self) -> None:
        states, mask = self.states, self.mask
        if not isinstance(states, Tensor) or not isinstance(mask, Tensor):
            given = f"{type(states).__name__} and {type(mask).__name__}"
            raise InputError(f"token states: expected two tensors, states and mask, got {given}")
        if states.dim() != 3 or not states.is_floating_point() or not states.shape[2]:
            raise InputError(
                f"token states: expected floating-point states [B, T, F], got {states.dtype} "
                f"{list(states.shape)}"
            )
        if mask.dtype != torch.bool or mask.shape != states.shape[:2]:
            raise InputError(
                f"token states: expected a mask bool {list(states.shape[:2])} for states "
                f"{list(states.shape)}, got {mask.dtype} {list(mask.shape)}"
            )

    def __getitem__(self, index: Any) -> TokenStates:
        """Return rows by a slice, int64 ``[M]`` or bool ``[B]``."""
        return self._taken(index)

    def tensors(self) -> dict[str, Tensor]:
        return {"": self.states, "mask": self.mask}

    def mapped(self, change: Callable[[Tensor], Tensor]) -> TokenStates:
        return TokenStates(change(self.states), change(self.mask))

    def padded(self, length: int) -> TokenStates:
        """Return the states padded to ``length`` tokens or more; the new ones are not attended."""
        more = max(length - self.states.shape[1], 0)
        pad = torch.nn.functional.pad
        return TokenStates(pad(self.states, (0, 0, 0, more)), pad(self.mask, (0, more)))

    def cleared(self) -> TokenStates:
        """Return the states with zeros at tokens that are not attended; padding then reaches no network."""
        return TokenStates(self.states.masked_fill(~self.mask[..., None], 0), self.mask)

    def means(self) -> Tensor:
        """Return the mean over the attended tokens ``[B, F]``, for networks without attention."""
        total = self.cleared().states.sum(1)
        return total / self.mask.sum(1, keepdim=True).clamp_min(1).to(total.dtype)


class Parts(TensorGroup):
    """The named parts of a condition, read-only: ``parts["caption"]`` is a part, ``parts[3:5]`` are rows.

    Args:
        parts: the tensor or :class:`TokenStates` of each name, all with the same number of rows; they are
            kept in alphabetical order.

    Raises:
        InputError: no part, an impossible name, a part of another type, or different numbers of rows.
    """

    def __init__(self, parts: Mapping[str, Tensor | TokenStates]) -> None:
        if not parts:
            raise InputError("condition: expected one part or more, got none")
        for name, part in parts.items():
            check_name(name)
            if not isinstance(part, Tensor | TokenStates) or (isinstance(part, Tensor) and not part.dim()):
                got = "a single number" if isinstance(part, Tensor) else type(part).__name__
                raise InputError(
                    f"condition: expected a tensor [B, …] or TokenStates as part '{name}', got {got}"
                )
        counts = {name: len(part) for name, part in parts.items()}
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"{count} of '{name}'" for name, count in counts.items())
            raise InputError(f"condition: expected parts with the same number of rows, got {listed}")
        self._parts = {name: parts[name] for name in sorted(parts)}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the parts, in alphabetical order."""
        return tuple(self._parts)

    def items(self) -> Iterator[tuple[str, Tensor | TokenStates]]:
        """Yield the name and value of each part."""
        yield from self._parts.items()

    def only(self, names: tuple[str, ...]) -> Parts:
        """Return the parts of these names alone."""
        return Parts({name: self._parts[name] for name in names})

    def __contains__(self, name: object) -> bool:
        return name in self._parts

    def __iter__(self) -> Iterator[Any]:
        raise TypeError("Parts are not iterated: use .items() for parts, .split(n) for rows")

    @overload
    def __getitem__(self, index: str) -> Tensor | TokenStates: ...
    @overload
    def __getitem__(self, index: Any) -> Any: ...
    def __getitem__(self, index: Any) -> Any:
        """Return the part of a name, or rows of all parts by a slice, int64 ``[M]`` or bool ``[B]``."""
        if not isinstance(index, str):
            return self._taken(index)
        if index not in self._parts:
            raise InputError(f"condition: no part '{index}'; there are {', '.join(self._parts)}")
        return self._parts[index]

    def tensors(self) -> dict[str, Tensor]:
        found = {}
        for name, part in self._parts.items():
            inner = part.tensors() if isinstance(part, TokenStates) else {"": part}
            found |= {name + (f".{place}" if place else ""): tensor for place, tensor in inner.items()}
        return found

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Parts:
        return Parts(
            {
                name: part.mapped(change) if isinstance(part, TokenStates) else change(part)
                for name, part in self._parts.items()
            }
        )

    def __repr__(self) -> str:
        return f"Parts({describe_value(self)})"


Conditions = Tensor | TokenStates | Parts
"""The types of a condition's value: labels ``[B]``, embeddings ``[B, E]``, a tensor, token states, parts."""


def kind_of(value: Tensor | TokenStates) -> str:
    """Return ``"labels"``, ``"embeddings"``, ``"tensor"`` or ``"tokens"``; ``"none"`` for other numbers."""
    if isinstance(value, TokenStates):
        return "tokens"
    if value.is_floating_point():
        return {0: "none", 1: "none", 2: "embeddings"}.get(value.dim(), "tensor")
    return "labels" if value.dim() == 1 else "none"


def describe_value(cond: Conditions | None) -> str:
    """Return the type and shape of a value, for messages."""
    if cond is None:
        return "None"
    if isinstance(cond, Tensor):
        return f"{cond.dtype} {list(cond.shape)}"
    if isinstance(cond, TokenStates):
        return f"token states {cond.states.dtype} {list(cond.states.shape)}"
    return ", ".join(f"{name}: {describe_value(part)}" for name, part in cond.items())


def check_name(name: object) -> None:
    """Refuse an impossible name of a part.

    Raises:
        InputError: no text of a letter and then letters, digits, ``_`` and ``-``, or more than 64 characters.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InputError(
            f"condition: {name!r} cannot name a part; use a letter, then at most 63 letters, digits, _ and -"
        )


def _converted(tensor: Tensor, *args: Any, **options: Any) -> Tensor:
    """Apply ``tensor.to(…)``, but cast only a floating-point tensor to another type."""
    moved = tensor.to(*args, **options)
    if tensor.is_floating_point() or moved.dtype == tensor.dtype:
        return moved
    return tensor.to(moved.device)
