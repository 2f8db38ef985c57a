"""Networks that are rebuilt for the tensors of a file: refused before they take more memory than these."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from flowprior.errors import CheckpointError

SLACK = 4
"""The factor by which a network may exceed the numbers and tensors of its file while it is built."""
FREE_NUMBERS, FREE_TENSORS = 1 << 24, 1 << 12
"""The float32 numbers that it may ask for besides, such as tables that are not saved: 64 MiB."""


def sizes_of(tensors: Mapping[str, Tensor]) -> list[int]:
    """The number of elements of each tensor."""
    return [tensor.numel() for tensor in tensors.values()]


def sizes_in(files: Iterable[Path]) -> list[int]:
    """The number of elements of each tensor in safetensors files, by their headers alone.

    Raises:
        SafetensorError: a file is damaged.
    """
    sizes = []
    for file in files:
        with safe_open(file, framework="pt") as opened:
            sizes += [math.prod(part.get_shape()) for part in map(opened.get_slice, opened.keys())]
    return sizes


class SizedBy(TorchDispatchMode):
    """Inside of this context, no network is built that is much larger than the tensors meant for it.

    A description of a few bytes can ask for a network of any size. The tensors that come with it say how
    large it is, so whatever asks for far more is refused before the memory is taken. PyTorch's meta device
    would do as well, but its first use costs seconds.

    Args:
        sizes: the number of elements of each tensor in the file.
        described: what is built, for the message, such as ``"model 'mlp'"``.

    Raises:
        CheckpointError: the network has more numbers, or more tensors, than the file can fill.
    """

    def __init__(self, sizes: Iterable[int], described: str) -> None:
        super().__init__()
        held = list(sizes)
        self.described = described
        self.held = sum(held)
        self.numbers = SLACK * self.held + FREE_NUMBERS
        self.tensors = SLACK * len(held) + FREE_TENSORS

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Count what is asked for by a size, as ``torch.empty`` does, and then do it."""
        size = args[0] if args else None
        if isinstance(size, list | tuple) and all(type(side) is int for side in size):
            self.numbers -= math.prod(size)
            self.tensors -= 1
        if self.numbers < 0 or self.tensors < 0:
            raise CheckpointError(
                f"the tensors do not fit the {self.described}: it is much larger than the {self.held:,} "
                "numbers that the file has for it; use another checkpoint"
            )
        return func(*args, **(kwargs or {}))
