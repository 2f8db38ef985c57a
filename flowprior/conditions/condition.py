"""The kind and size of a condition, the checks of its values, and its null value for guidance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from flowprior.conditions.rows import as_value
from flowprior.conditions.values import Conditions, Parts, TokenStates, check_name, describe_value
from flowprior.errors import InputError

Kind = Literal["none", "labels", "embeddings", "tensor", "tokens", "parts"]
MOST_LABELS = 100_000
"""The highest number of classes: priors and networks hold a row of numbers for each class."""


@dataclass(frozen=True, repr=False)
class Condition:
    """The kind and size of a data set's condition.

    Attributes:
        kind: ``"none"``, ``"labels"`` (int64 ``[B]``), ``"embeddings"`` (floating point ``[B, E]``),
            ``"tensor"`` (floating point ``[B, *shape]`` with two or more dimensions after B, such as an image
            or a series), ``"tokens"`` (:class:`TokenStates` of ``[B, T, F]``) or ``"parts"``
            (:class:`Parts`).
        size: the number of classes, at most 100,000 (:data:`MOST_LABELS`); E of embeddings; the number of
            elements of a tensor; F of token states; else 0.
        parts: the name and condition of each part, in the order of the names.
        shape: the shape of one row of the kind ``"tensor"``.

    Raises:
        InputError: an unknown kind, or a size, shape or parts that do not fit the kind.
    """

    kind: Kind = "none"
    size: int = 0
    parts: tuple[tuple[str, Condition], ...] = ()
    shape: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind) or type(self.size) is not int or self.size < 0:
            raise InputError(
                f"condition: expected a kind among {', '.join(get_args(Kind))} and a size of 0 or more, got "
                f"{self.kind!r} and {self.size!r}"
            )
        if self.kind == "labels" and self.size > MOST_LABELS:
            raise InputError(
                f"condition: {self.size:,} labels are too many, at most {MOST_LABELS:,} are possible; number "
                "the labels 0, 1, 2, …"
            )
        if (self.kind == "parts") != bool(self.parts) or (self.parts and self.size):
            raise InputError("condition: expected parts without a size for the kind 'parts', else no parts")
        shape = tuple(self.shape)
        is_tensor = len(shape) > 1 and all(type(side) is int and side > 0 for side in shape)
        if (self.kind == "tensor") != is_tensor or (is_tensor and math.prod(shape) != self.size):
            raise InputError(
                "condition: expected the shape of a tensor with size elements for the kind 'tensor', got "
                f"kind {self.kind!r}, size {self.size} and shape {list(shape)}"
            )
        object.__setattr__(self, "shape", shape)
        for name, part in self.parts:
            check_name(name)
            if not isinstance(part, Condition) or part.kind in ("none", "parts"):
                raise InputError(
                    f"condition: expected labels, embeddings, a tensor or tokens as part '{name}', got {part}"
                )
        names = [name for name, _ in self.parts]
        if len(set(names)) < len(names):
            raise InputError(f"condition: expected different names of the parts, got {', '.join(names)}")
        object.__setattr__(self, "parts", tuple(sorted(self.parts, key=lambda part: part[0])))

    @classmethod
    def of_shape(cls, shape: Sequence[int]) -> Condition:
        """Return the condition of one tensor of this shape a row; one of one dimension is an embedding."""
        shape = tuple(shape)
        if len(shape) == 1:
            return cls("embeddings", *shape)
        return cls("tensor", math.prod(shape), shape=shape)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one row of embeddings or of a tensor."""
        return self.shape or (self.size,)

    @property
    def is_picture(self) -> bool:
        """True for images, tensors [channels, height, width]."""
        return len(self.shape) == 3

    @property
    def is_series(self) -> bool:
        """True for series, tensors [channels, length]."""
        return len(self.shape) == 2

    @property
    def named(self) -> dict[str, Condition]:
        """The parts by name; a condition without parts stands under the empty name."""
        return dict(self.parts) or {"": self}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the parts, in alphabetical order."""
        return tuple(name for name, _ in self.parts)

    @property
    def token_widths(self) -> dict[str, int]:
        """The width F of each part of token states, by its name; no name if they are the whole condition."""
        return {name: part.size for name, part in self.named.items() if part.kind == "tokens"}

    def __getitem__(self, name: str) -> Condition:
        """Return the part of this name.

        Raises:
            InputError: no part of this name.
        """
        found = dict(self.parts).get(name)
        if found is None:
            raise InputError(f"condition: no part '{name}'; there are {', '.join(self.names) or 'none'}")
        return found

    def only(self, names: tuple[str, ...]) -> Condition:
        """Return the condition of the parts of these names alone."""
        return Condition("parts", parts=tuple((name, self[name]) for name in names))

    def null(self, cond: Conditions | None) -> Any:
        """Return the null condition shaped like ``cond``: label ``size``, zeros, or one token of zeros.

        Each of several parts gets its own. Classifier-free guidance (Ho & Salimans 2022) trains on the null
        condition by dropout and samples with it.
        """
        if cond is None or self.kind == "none":
            return None
        if isinstance(cond, Parts):
            return Parts({name: part.null(cond[name]) for name, part in self.parts})
        if isinstance(cond, TokenStates):
            first = torch.zeros_like(cond.mask)
            first[:, :1] = True
            return TokenStates(torch.zeros_like(cond.states), first)
        return torch.full_like(cond, self.size) if self.kind == "labels" else torch.zeros_like(cond)

    def check(self, cond: Any, owner: str) -> Any:
        """Check the kind, shape and labels of ``cond`` and return it.

        A mapping is returned as :class:`Parts`; token states are returned with zeros at tokens that are not
        attended.

        Args:
            cond: the value.
            owner: the function or component that was given it, for messages.

        Raises:
            InputError: a value of another kind or shape, a missing or unknown part, or a row without an
                attended token.
        """
        if self.kind == "none":
            return None
        if cond is None:
            raise InputError(f"{owner}: expected {self.describe()}, got None")
        if self.kind == "parts":
            return self._check_parts(as_value(cond), owner)
        if self.kind == "tokens":
            return self._check_tokens(cond, owner)
        if not isinstance(cond, Tensor):
            raise InputError(
                f"{owner}: expected {self.describe()}, got {type(cond).__name__}; use torch.tensor"
            )
        if self.kind == "labels":
            if cond.dtype != torch.long or cond.dim() != 1:
                raise InputError(f"{owner}: expected {self.describe()}, got {cond.dtype} {list(cond.shape)}")
            if len(cond) and not 0 <= int(cond.min()) <= int(cond.max()) < self.size:
                bad = int(cond[(cond < 0) | (cond >= self.size)][0])
                raise InputError(f"{owner}: cond has label {bad}, expected labels 0..{self.size - 1}")
        elif not cond.is_floating_point() or cond.shape[1:] != torch.Size(self.event_shape):
            raise InputError(f"{owner}: expected {self.describe()}, got {cond.dtype} {list(cond.shape)}")
        return cond

    def _check_parts(self, cond: Any, owner: str) -> Parts:
        if not isinstance(cond, Parts):
            got = describe_value(cond) if isinstance(cond, Tensor | TokenStates) else type(cond).__name__
            example = ", ".join(f'"{name}": …' for name in self.names)
            raise InputError(f"{owner}: expected {self.describe()}, got {got}; pass {{{example}}}")
        missing = [name for name in self.names if name not in cond]
        further = [name for name in cond.names if name not in self.names]
        if missing or further:
            problem = f"without '{missing[0]}'" if missing else f"with '{further[0]}'"
            raise InputError(
                f"{owner}: expected the parts {', '.join(self.names)}, got {', '.join(cond.names)}, {problem}"
            )
        return Parts({name: part.check(cond[name], f"{owner}, '{name}'") for name, part in self.parts})

    def _check_tokens(self, cond: Any, owner: str) -> TokenStates:
        if not isinstance(cond, TokenStates):
            got = describe_value(cond) if isinstance(cond, Tensor) else type(cond).__name__
            raise InputError(f"{owner}: expected {self.describe()}, got {got}; use TokenStates(states, mask)")
        if cond.states.shape[2] != self.size:
            raise InputError(f"{owner}: expected {self.describe()}, got {describe_value(cond)}")
        empty = ~cond.mask.any(1)
        if bool(empty.any()):
            raise InputError(
                f"{owner}: expected an attended token in each row, row {int(empty.nonzero()[0])} has none; "
                "set the mask of at least one token, also for an empty caption"
            )
        return cond.cleared()

    def describe(self) -> str:
        """Return a description of the expected value, for messages."""
        if self.kind == "labels":
            return f"int64 labels [B] in 0..{self.size - 1}"
        if self.kind == "tokens":
            return f"token states [B, T, {self.size}] with a mask"
        if self.kind == "tensor":
            return f"a floating-point tensor [B, {', '.join(map(str, self.shape))}]"
        if self.kind == "parts":
            return "parts " + ", ".join(f"{name}: {part.describe()}" for name, part in self.parts)
        return f"floating-point embeddings [B, {self.size}]" if self.kind == "embeddings" else "no condition"

    def __repr__(self) -> str:
        more = (
            f", parts={self.parts!r}" if self.parts else ""
        )  # The digests of saved data begin with this text.
        more += f", shape={self.shape!r}" if self.shape else ""
        return f"Condition(kind={self.kind!r}, size={self.size!r}{more})"

    @classmethod
    def of(cls, cond: Conditions | None) -> Condition:
        """Return the kind and size of the condition ``cond`` of a whole data set."""
        if cond is None:
            return cls()
        if isinstance(cond, Parts):
            return cls("parts", parts=tuple((name, cls.of(part)) for name, part in cond.items()))
        if isinstance(cond, TokenStates):
            return cls("tokens", int(cond.states.shape[2]))
        if cond.is_floating_point():
            return cls.of_shape(cond.shape[1:])
        return cls("labels", int(cond.max()) + 1 if len(cond) else 0)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        values: dict[str, Any] = {"kind": self.kind, "size": self.size}
        values |= {"shape": list(self.shape)} if self.shape else {}
        return values | ({"parts": {name: part.as_dict() for name, part in self.parts}} if self.parts else {})

    @classmethod
    def from_dict(cls, values: Any) -> Condition:
        """Return the condition that :meth:`as_dict` described.

        Raises:
            ValueError: other values.
        """
        if not isinstance(values, Mapping) or set(values) - {"parts", "shape"} != {"kind", "size"}:
            raise ValueError("expected a condition of kind and size")
        parts, shape = values.get("parts", {}), values.get("shape", [])
        inner = parts.values() if isinstance(parts, Mapping) else [None]
        if not isinstance(shape, list) or any("parts" in (part or ["parts"]) for part in inner):
            raise ValueError("expected a shape as a list, and parts that have no parts")
        read = tuple((name, cls.from_dict(part)) for name, part in parts.items())
        return cls(values["kind"], values["size"], read, tuple(shape))
