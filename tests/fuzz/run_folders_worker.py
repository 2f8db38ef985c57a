"""A process that is used again: it calls functions for its owner, and is killed where one does not return."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

START = 600.0
"""Seconds that importing and training the tiny runs may take."""


class WorkerDied(Exception):
    """The process ended, or was killed because it did not answer."""


class Worker:
    """Calls module-level functions in a process of its own, one at a time."""

    def __init__(self) -> None:
        self._process: Any = None
        self._pipe: Connection | None = None

    def call(self, function: Callable[..., Any], *arguments: Any, seconds: float = START) -> Any:
        """What ``function(*arguments)`` returns.

        Raises:
            WorkerDied: no answer within ``seconds``; the next call starts another process.
            RuntimeError: the function raised; a fault of the harness itself.
        """
        pipe = self._started()
        pipe.send((function, arguments))
        try:
            if not pipe.poll(seconds):
                raise WorkerDied(f"no answer within {seconds:g} s")
            failed, value = pipe.recv()
        except (EOFError, OSError) as error:
            self.close()
            raise WorkerDied("the process ended") from error
        except WorkerDied:
            self.close()
            raise
        if failed:
            raise RuntimeError(value)
        return value

    def close(self) -> None:
        """Kill the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None

    def _started(self) -> Connection:
        if self._process is None:
            context = multiprocessing.get_context("spawn")
            self._pipe, other = context.Pipe()
            self._process = context.Process(target=_serve, args=(other,), daemon=True)
            self._process.start()
            other.close()
        assert self._pipe is not None
        return self._pipe


class Here:
    """The same in this process, for tests that replace parts of the package."""

    def call(self, function: Callable[..., Any], *arguments: Any, seconds: float = START) -> Any:
        """What ``function(*arguments)`` returns."""
        return function(*arguments)

    def close(self) -> None:
        """Nothing to end."""


def _serve(pipe: Connection) -> None:
    """Answer calls until the owner goes."""
    import torch

    from tests.fuzz.run_folders_memory import limit_address_space

    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    limited = False
    while True:
        try:
            function, arguments = pipe.recv()
        except EOFError:
            return
        if not limited:
            limit_address_space()
            limited = True
        try:
            pipe.send((False, function(*arguments)))
        except BaseException as error:
            pipe.send((True, f"{type(error).__name__}: {error}"))
