"""What goes from one process to another: tensors without what they are views of, errors to be rebuilt."""

from __future__ import annotations

import pickle

from torch import Tensor


def compact(tensor: Tensor) -> Tensor:
    """A tensor on the CPU with its own numbers alone, for a view is pickled with all that it is of."""
    held = tensor.detach().cpu()
    own = held.numel() * held.element_size()
    return held.clone() if held.untyped_storage().nbytes() > own else held


def sendable(error: BaseException) -> BaseException:
    """The error, or one with its text where it cannot be rebuilt in another process."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
