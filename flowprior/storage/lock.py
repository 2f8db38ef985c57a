"""One writer a folder: a lock of the operating system, which a crash does not leave in the way.

The lock belongs to the open file ``.lock``, not to its presence: a file that a killed process left behind
locks nothing, and the next writer takes it over and removes it at its end.
"""

from __future__ import annotations

import errno
import os
import socket
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from flowprior.errors import OptionError
from flowprior.storage.writing import explaining, remove_leftovers

try:
    import fcntl
except ImportError:  # Not a system of the Unix family.
    fcntl = None

NAME = ".lock"
HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)


class FolderLock:
    """Context that holds the lock of a folder, which is made where it is missing.

    Where the folder was made here and stays empty, it is removed again. Where the file system cannot lock,
    the context warns in one line and goes on; :attr:`held` is False then.

    Args:
        folder: to lock.
        patience: seconds to wait for another writer.
        quiet: give no warning where the file system cannot lock.
        own: names or patterns of the files that are written there under this lock. Temporary files of them,
            which a killed process left, are removed as soon as the lock is held.

    Raises:
        OptionError: another writer holds the lock.
        CheckpointError: the folder cannot be written.
    """

    def __init__(
        self, folder: Path, patience: float = 0.0, quiet: bool = False, own: Sequence[str] = ()
    ) -> None:
        self.folder, self.path = folder, folder / NAME
        self.patience, self.quiet, self.own = patience, quiet, own
        self.held = False
        self._descriptor: int | None = None
        self._made = False

    def __enter__(self) -> FolderLock:
        with explaining(self.path):
            self._made = not self.folder.is_dir()
            self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._take()
            if self.held:
                remove_leftovers(self.folder, *self.own)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if (
            self.held
        ):  # Removed while it is held: whoever waits for it sees that it is gone, and opens a new one.
            with suppress(OSError):
                self.path.unlink()
        self._close()
        if self._made:
            with suppress(OSError):
                self.folder.rmdir()

    def _take(self) -> None:
        deadline = time.monotonic() + self.patience
        while not self.held:
            with explaining(self.path):
                self.folder.mkdir(parents=True, exist_ok=True)
                self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                _lock(self._descriptor)
            except OSError as error:
                if error.errno not in HELD:
                    self._warn(error)
                    return
                self._refuse_after(deadline)
                continue
            self.held = self._is_current()
            if not self.held:
                self._close()
        self._sign()

    def _refuse_after(self, deadline: float) -> None:
        """Close the file, and refuse where the time is over."""
        owner = self._owner()
        self._close()
        if time.monotonic() >= deadline:
            raise OptionError(
                f"{self.folder} is being written by another process{owner}; wait for its end, or choose "
                "another directory"
            )
        time.sleep(0.05)

    def _is_current(self) -> bool:
        """Whether the locked file is still the one of that name."""
        assert self._descriptor is not None
        with suppress(OSError):
            return os.path.samestat(os.fstat(self._descriptor), os.stat(self.path))
        return False

    def _sign(self) -> None:
        """Note who holds the lock, for the message that another one gets."""
        assert self._descriptor is not None
        with suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()} {socket.gethostname()}".encode(), 0)

    def _owner(self) -> str:
        assert self._descriptor is not None
        with suppress(OSError):
            words = os.pread(self._descriptor, 200, 0).decode("ascii", "replace").split()
            if len(words) == 2 and words[0].isdigit() and words[1].isprintable():
                return f" (number {words[0]} on {words[1]})"
        return ""

    def _warn(self, error: OSError) -> None:
        """Go on without a lock, and leave no file of it."""
        with suppress(OSError):
            self.path.unlink()
        self._close()
        if not self.quiet:
            warnings.warn(
                f"the file system of {self.folder} cannot lock ({error.strerror or error}); start no second "
                "training there while this one runs",
                RuntimeWarning,
                stacklevel=4,
            )

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None
        self.held = False


def _lock(descriptor: int) -> None:
    """Take the lock of an open file, or fail at once."""
    if fcntl is None:
        raise OSError(errno.ENOSYS, "no file locks on this system")
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
