"""One writer a folder: who waits, who is refused, what a crash leaves, and file systems that cannot lock."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
import warnings
from pathlib import Path

import pytest

from flowprior.errors import OptionError
from flowprior.storage.lock import FolderLock


def test_a_second_writer_is_refused_in_one_line(tmp_path: Path) -> None:
    with FolderLock(tmp_path) as first:
        assert first.held
        with pytest.raises(
            OptionError, match=rf"written by another process \(number {os.getpid()} on "
        ) as caught:
            FolderLock(tmp_path).__enter__()
        assert "\n" not in str(caught.value)
    with FolderLock(tmp_path) as second:
        assert second.held
    assert list(tmp_path.iterdir()) == []


def test_a_patient_writer_waits_for_its_turn(tmp_path: Path) -> None:
    order: list[str] = []

    def wait() -> None:
        with FolderLock(tmp_path, patience=30):
            order.append("second")

    with FolderLock(tmp_path):
        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert list(tmp_path.iterdir()) == []


def test_a_crash_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        held = FolderLock(tmp_path)
        held.__enter__()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert (tmp_path / ".lock").is_file()
    with FolderLock(tmp_path) as taken:
        assert taken.held
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_stays_empty_is_not_left(tmp_path: Path) -> None:
    with FolderLock(tmp_path / "runs" / "a"):
        pass
    with FolderLock(tmp_path / "runs" / "b"):
        (tmp_path / "runs" / "b" / "file").write_text("")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["b"]


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_that_cannot_lock(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int, operation: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", fail)
    with pytest.warns(RuntimeWarning, match="cannot lock") as warned, FolderLock(tmp_path) as taken:
        assert not taken.held
    assert len(warned) == 1
    assert "\n" not in str(warned[0].message)
    assert list(tmp_path.iterdir()) == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with FolderLock(tmp_path, quiet=True):
            pass
