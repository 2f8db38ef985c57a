"""The end of a process that talked to others: its threads have let go before the interpreter does."""

from __future__ import annotations

import time
from collections.abc import Callable

from torch import distributed

GRACE = 0.2
"""Seconds: a collective's thread lets go of its tensors in microseconds, once the machine lets it run."""


def leave(destroy: Callable[[], None] = distributed.destroy_process_group) -> None:
    """Leave the group of processes; the last thing that a process does.

    A thread of gloo lets go of the tensors of a collective a moment after their caller has them, and takes
    Python's lock for it. If the interpreter is ending by then, the thread is ended inside of a destructor and
    the process aborts ("terminate called without an active exception"), though all its work is done. Groups
    that device meshes know outlive ``destroy_process_group``, and with them their threads; torch has no call
    that waits for these.

    Args:
        destroy: ends the communication.
    """
    destroy()
    time.sleep(GRACE)  # without Python's lock, so that a thread that waits for it gets it
