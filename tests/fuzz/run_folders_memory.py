"""How much memory a road takes: the peak of the resident set since it began, as Linux counts it."""

from __future__ import annotations

import ctypes
import resource
from contextlib import suppress
from pathlib import Path

BOUND = 512.0
"""MiB that a mutated file may take beyond what the unmutated one takes."""
HEADROOM = 4 << 30
"""Bytes of address space a worker may still ask for, so that a fault cannot take the machine down."""


class Growth:
    """Peak of the resident set from here on, over what it is here."""

    def __init__(self) -> None:
        # What was freed but kept by the allocator would be taken again without being seen.
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # sets the peak back to the present size
        self._before = _status("VmRSS")

    def mebibytes(self) -> float:
        """The growth so far."""
        return round((_status("VmHWM") - self._before) / 1024, 1)


def limit_address_space() -> None:
    """Refuse this process more than :data:`HEADROOM` beyond what it has."""
    limit = _status("VmSize") * 1024 + HEADROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _status(name: str) -> int:
    """A line of /proc/self/status in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
