"""The lock of a folder: one writer at a time, by a lock of the operating system that ends with its process.

The lock belongs to the open file ``.lock``, not to its presence: a file that a killed process left behind
locks nothing, and the next writer takes it over and removes it at its end.
"""

from __future__ import annotations

import errno
import os
import socket
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from flowprior.errors import OptionError
from flowprior.storage.writing import remove_leftovers, writing

NAME = ".lock"
"""The name of the lock file in the folder."""
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"""The error numbers of file systems that cannot lock."""


class FolderBusy(OptionError):
    """A folder that another process is writing to."""


class FolderLock:
    """The lock of a folder as a context; a missing folder is made.

    A folder that was made here and stays empty is removed again. If the file system cannot lock, the context
    warns in one line and goes on with :attr:`held` False.

    Args:
        folder: the folder to lock.
        patience: seconds to wait for another writer.
        quiet: give no warning if the file system cannot lock.
        own: names or patterns of the files that are written under this lock. Temporary files of these, which
            a killed process left, are removed as soon as the lock is held.

    Raises:
        FolderBusy: another writer holds the lock.
        CheckpointError: the folder cannot be written.
    """

    def __init__(
        self, folder: Path, patience: float = 0.0, quiet: bool = False, own: Sequence[str] = ()
    ) -> None:
        self.folder, self.path = folder, folder / NAME
        self.patience, self.quiet, self.own = patience, quiet, own
        self.held = False
        self._lock = FileLock(self.path, fallback_to_soft=False)
        self._made = False

    def __enter__(self) -> FolderLock:
        with writing(self.path):
            self._made = not self.folder.is_dir()
            self._take()
        if self.held:
            with suppress(OSError):
                self.path.write_text(f"{os.getpid()} {socket.gethostname()}", encoding="utf-8")
            remove_leftovers(self.folder, *self.own)
        return self

    def __exit__(self, *_: object) -> None:
        if self.held:
            with suppress(OSError):
                self.path.unlink()  # A process that waits for the lock notices, and makes a new file.
            self._lock.release()
        self.held = False
        if self._made:
            with suppress(OSError):
                self.folder.rmdir()

    def _take(self) -> None:
        while not self.held:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire(timeout=self.patience)
                self.held = True
            except Timeout as error:
                raise FolderBusy(
                    f"{self.folder} is being written by another process{self._owner()}; wait for its end, or "
                    "choose another directory"
                ) from error
            except FileNotFoundError:
                continue  # The writer before had made the folder, and left it empty.
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
                with suppress(OSError):
                    self.path.unlink()
                if not self.quiet:
                    warnings.warn(
                        f"the file system of {self.folder} cannot lock ({error.strerror or error}); start no "
                        "second training there while this one runs",
                        RuntimeWarning,
                        stacklevel=3,
                    )
                return

    def _owner(self) -> str:
        """Return the process that holds the lock, as the lock file names it; empty if it names none."""
        with suppress(OSError):
            words = self.path.read_bytes()[:200].decode("ascii", "replace").split()
            if len(words) == 2 and words[0].isdigit() and words[1].isprintable():
                return f" (number {words[0]} on {words[1]})"
        return ""
