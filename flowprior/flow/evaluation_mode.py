"""Evaluation mode for as long as a model is sampled, also by several threads at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from torch import nn


@dataclass
class _Visit:
    """Who is inside: how many, and the modules that were in training mode when the first one came."""

    count: int
    training: list[nn.Module]


_lock = threading.Lock()
_visits: WeakKeyDictionary[nn.Module, _Visit] = WeakKeyDictionary()


@contextmanager
def evaluating(model: object) -> Iterator[None]:
    """Put a module into evaluation mode, and each of its parts back into its own mode afterwards.

    Of several threads or nested contexts on one model, the first one switches and the last one switches back.
    A model that is in evaluation mode already is not touched.
    """
    if not isinstance(model, nn.Module):
        yield
        return
    with _lock:
        visit = _visits.setdefault(model, _Visit(0, []))
        visit.count += 1
        if visit.count == 1:
            visit.training = [module for module in model.modules() if module.training]
            _switch(visit.training, False)
    try:
        yield
    finally:
        with _lock:
            visit.count -= 1
            if visit.count == 0:
                _switch(visit.training, True)
                visit.training = []  # They hold the model, which would keep its own key alive.
                _visits.pop(model, None)


def _switch(modules: list[nn.Module], training: bool) -> None:
    for module in modules:
        module.training = training
