"""What the benchmarks run beside flowprior, and the line that installs what is missing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any

import torch

from flowprior.ops.backend import backend, native_devices

PEERS = "pip install --no-deps --requirement benchmarks/peers.txt"
OURS = "pip install --editable '.[benchmark]'"
COMPILER = "apt-get install g++"
INSTALL = {"torchcfm": PEERS, "flow_matching": PEERS}


class MissingError(Exception):
    """A peer is not there; the message is the line that installs it."""


def peer(module: str) -> ModuleType:
    """The module of a peer.

    Raises:
        MissingError: it cannot be imported.
    """
    try:
        return import_module(module)
    except ImportError:
        raise MissingError(INSTALL.get(module.split(".")[0], OURS)) from None


def compiled(function: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    """A composition under ``torch.compile``, with these arguments and warmed up."""
    return warm(partial(compile_once(function), *arguments))


def compile_once(function: Callable[..., Any]) -> Callable[..., Any]:
    """``torch.compile`` for one size.

    Raises:
        MissingError: there is no C++ compiler for it.
    """
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        raise MissingError(COMPILER)
    return torch.compile(function, fullgraph=False, dynamic=False)


def warm(call: Callable[[], Any]) -> Callable[[], Any]:
    """The call, after three of them."""
    for _ in range(3):
        call()
    return call


def need_native() -> None:
    """Return where flowprior's native operators serve the CPU.

    Raises:
        MissingError: they were not built, or ``FLOWPRIOR_OPS=torch`` leaves them aside.
    """
    if "cpu" in native_devices():
        return
    if backend().asked:
        raise MissingError("unset FLOWPRIOR_OPS FLOWPRIOR_BUILD; " + OURS)
    raise MissingError(OURS if shutil.which("g++") else f"{COMPILER} && {OURS}")
