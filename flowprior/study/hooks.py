"""Hooks: the functions that a grid names, ``package.module:function``, which train or measure in its runs."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flowprior.errors import OptionError
from flowprior.storage.digests import file_sha256


def check_hook(key: str, text: str) -> str:
    """Return ``text``, checked to be empty or to look like ``package.module:function``."""
    parts = text.split(":")
    if text and not (len(parts) == 2 and all(parts)):
        raise OptionError(f"compare: {key}={text!r} is not possible; write 'package.module:function'")
    return text


def load_hooks(hooks: Mapping[str, str]) -> None:
    """Import every function of :attr:`Grid.hooks`; their modules may register the data set of the grid.

    Importing runs code: only for a grid that the user has passed, or has allowed to.

    Raises:
        OptionError: a function cannot be loaded.
    """
    for text, key in hooks.items():
        load_hook(key, text)


def load_hook(key: str, text: str) -> Callable[..., Any]:
    """Return the function that ``text`` names; modules are looked for in the current folder, too."""
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


def hook_digest(text: str) -> str:
    """Return the SHA-256 of the file of a function, which is not imported; empty if no file is found."""
    place = Path(*text.partition(":")[0].split("."))
    for folder in (os.getcwd(), *sys.path):
        for file in (Path(folder, f"{place}.py"), Path(folder, place, "__init__.py")):
            if text and file.is_file():
                return file_sha256(file)
    return ""
