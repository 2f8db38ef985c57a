"""Functions that a grid names as ``package.module:function``, where the library's own way does not serve.

- ``trainer(config, data, out) -> Flow`` trains one cell, such as a peer's design: ``config`` is its
  :class:`~flowprior.training.RunConfig`, ``data`` the training split, ``out`` a folder of its own.
- ``runner(cells, data) -> Iterator[(cell, Flow)]`` trains many cells at once, such as an ensemble; ``data``
  is the training split.
- ``values(flow, cell, data) -> list`` gives further values of a trained cell, as rows of the long table
  (:func:`flowprior.evaluation.result.table_row`); ``data`` is a :class:`~flowprior.study.splits.Splits`.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

from flowprior.errors import OptionError

HOOKS = ("trainer", "runner", "values")
"""Keys of a grid that name a function."""


def check_hook(key: str, text: Any) -> None:
    """Check that ``text`` is empty or looks like ``package.module:function``.

    Raises:
        OptionError: it does not.
    """
    parts = text.split(":") if isinstance(text, str) else []
    if text and not (len(parts) == 2 and all(parts)):
        raise OptionError(f"compare: {key}={text!r} is not possible; write 'package.module:function'")


def load_hook(key: str, text: str) -> Callable[..., Any]:
    """The function that ``text`` names; modules are looked for in the current folder, too.

    Raises:
        OptionError: there is no such module or function.
    """
    module, _, name = text.partition(":")
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise OptionError(
            f"compare: {key}='{text}' cannot be loaded ({error}); run from the folder that holds "
            f"'{module.partition('.')[0]}', or install it"
        ) from error
