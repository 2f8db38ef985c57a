"""A context in which torch runs on one thread, so that a fit gives the same bits whatever their number."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_ONE_FIT_AT_A_TIME = threading.RLock()


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch's operators on one thread, and on as many as before afterwards.

    A matrix product that is shared out over threads adds its terms in another order, and a fit can carry that
    rounding far: to the sign of an eigenvector, to the pass after which EM stops, through thousands of
    optimiser steps. One thread gives the same bits whatever the number.

    torch keeps that number for the whole process, so fits in several Python threads wait for each other. A
    context inside another one changes nothing.
    """
    with _ONE_FIT_AT_A_TIME:
        before = torch.get_num_threads()
        if before == 1:
            yield
            return
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)
