"""Precision of a network's passes: automatic mixed precision, and where bfloat16 is only emulated."""

from __future__ import annotations

import warnings

import torch

BFLOAT16 = "bfloat16"
PRECISIONS = ("float32", BFLOAT16)


def in_precision(precision: str, device: torch.device) -> torch.autocast:
    """A context for a network's passes in ``precision``, one of :data:`PRECISIONS`; weights stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == BFLOAT16)


def warn_of_emulation(owner: str, precision: str, device: torch.device) -> None:
    """Warn where ``precision`` is bfloat16 and the processor computes it in software.

    There a convolutional network was measured to take fifteen times as long as in float32.

    Args:
        owner: whose option it is, for the warning.
        precision: one of :data:`PRECISIONS`.
        device: that the network is on.
    """
    if precision == BFLOAT16 and device.type == "cpu" and not processor_has_bfloat16():
        warnings.warn(
            f"{owner}: this processor has no bfloat16 arithmetic, and emulating it may take ten times as "
            "long as float32; choose precision float32",
            RuntimeWarning,
            stacklevel=3,
        )


def processor_has_bfloat16() -> bool:
    """Whether oneDNN, which computes convolutions and products on the CPU, has bfloat16 kernels for this one.

    True where that is not known.
    """
    if not torch.backends.mkldnn.is_available():
        return True
    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return True if supported is None else bool(supported())
