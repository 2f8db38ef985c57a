"""Standard deviations of a table of variances, kept as long as the table stays what it was."""

from __future__ import annotations

import weakref

from torch import Tensor


class Scales:
    """√var of one buffer, computed again whenever the buffer was replaced or written to.

    Buffers are replaced by ``fit`` and ``.to()``, and written to by ``load_state_dict`` and in-place
    operations; both show in the tensor's identity and version. Copies start empty.
    """

    def __init__(self) -> None:
        self._known: tuple[weakref.ref[Tensor], int, Tensor] | None = None

    def of(self, var: Tensor) -> Tensor:
        """√var, of the shape of ``var``."""
        if var.requires_grad or var.is_inference():
            return var.sqrt()
        if self._known is not None:
            source, version, scale = self._known
            if source() is var and version == var._version:
                return scale
        scale = var.sqrt()
        self._known = (weakref.ref(var), var._version, scale)
        return scale

    def __reduce__(self) -> tuple[type[Scales], tuple[()]]:
        return Scales, ()
