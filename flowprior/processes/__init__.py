"""The processes that work together: how many were launched, which one this is, and their group.

The launcher's part is read from the environment, without torch; the rest is :mod:`flowprior.processes.group`.
"""

from __future__ import annotations

import os

from flowprior.errors import OptionError


def process_count() -> int:
    """Return the number of processes that ``torchrun`` or ``accelerate launch`` has started, with this one.

    Raises:
        OptionError: ``WORLD_SIZE`` is no number.
    """
    text = os.environ.get("WORLD_SIZE", "1")
    if not text.isdecimal() or int(text) < 1:
        raise OptionError(f"WORLD_SIZE={text!r} is no number of processes; unset it, or use torchrun")
    return int(text)


def process_rank() -> int:
    """The number of this process among those, from 0; the first one writes files and shows messages."""
    text = os.environ.get("RANK", "0")
    return int(text) if text.isdecimal() and process_count() > 1 else 0
