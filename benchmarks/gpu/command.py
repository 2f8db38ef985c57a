"""A command of its own process group, which ends at its limit of time and leaves nothing running."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The repository, in which every command runs."""
POLL = 0.2
"""Seconds between two looks at what a running command has left."""
GRACE = 5.0
"""Seconds that a command has to end by itself once it is told to."""


@dataclass(frozen=True)
class Finished:
    """How a command ended.

    Attributes:
        code: its exit status, negative for a signal.
        output: stdout and stderr together.
        cut: whether it ran into its limit of time.
    """

    code: int
    output: str
    cut: bool

    def end(self, lines: int = 12) -> str:
        """The last lines of the output."""
        return "\n".join(self.output.strip().splitlines()[-lines:])


def run_command(
    words: Sequence[str],
    limit: float,
    more: Mapping[str, str] | None = None,
    watch: Callable[[], None] | None = None,
) -> Finished:
    """Run a command in the repository for at most ``limit`` seconds.

    Args:
        words: the command and its arguments.
        limit: seconds after which it is ended, with everything of its process group.
        more: variables that its environment has beside ours.
        watch: called while it runs, and once afterwards.

    Raises:
        OSError: the command cannot be started.
    """
    begun = time.monotonic()
    with tempfile.TemporaryFile("w+b") as output:
        process = subprocess.Popen(
            words,
            cwd=ROOT,
            env={**os.environ, **(more or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while not _ended(process, POLL) and time.monotonic() - begun < limit:
                if watch:
                    watch()
            cut = process.poll() is None
        finally:
            _end_group(process)
        if watch:
            watch()
        output.seek(0)
        return Finished(process.returncode, output.read().decode(errors="replace"), cut)


def _ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether the process ends within so many seconds."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
        return True
    return False


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End the process if it still runs, and what is left of its group."""
    if process.poll() is None:
        _signal(process, signal.SIGTERM)
        _ended(process, GRACE)
    _signal(process, signal.SIGKILL)
    process.wait()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
