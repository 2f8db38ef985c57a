"""Files that survive: round trips, corruption, pickles, and a full disk."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import signal
import subprocess
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from flowprior.data import TensorData
from flowprior.data.base import data_digest
from flowprior.errors import CheckpointError, DataNotFoundError, InputError, OptionError
from flowprior.priors import Prior
from flowprior.storage import writing
from flowprior.storage.digests import (
    checked_file,
    file_sha256,
    module_description,
    settings_digest,
    tensors_digest,
)
from flowprior.storage.lock import FolderLock
from flowprior.storage.reading import read_text
from flowprior.storage.tensor_files import load_tensors, parse_state, save_state, save_tensors
from flowprior.storage.writing import check_place, is_leftover, replacing, write_json, write_text
from flowprior.study.folder import StudyFolder
from flowprior.training import RunDirectory

TENSORS = {
    "float": torch.randn(3, 4),
    "double": torch.randn(2, dtype=torch.float64),
    "half": torch.randn(5).bfloat16(),
    "scalar": torch.tensor(7),
    "flags": torch.tensor([True, False]),
    "empty": torch.zeros(0, 3),
    "strided": torch.randn(4, 3).T,
}


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 256 KiB."""
    mount = tmp_path / "small"
    mount.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(mount)], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("mounting a small file system needs root")
    try:
        yield mount
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.endswith(".tmp")]


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    write_text("~/a/note.txt", "found")
    assert read_text("~/a/note.txt") == (tmp_path / "a" / "note.txt").read_text() == "found"
    for folder in (RunDirectory("~/run").path, StudyFolder("~/run").path):
        assert folder == tmp_path / "run"
    Prior.create("gaussian").fit(torch.randn(8, 2)).save("~/prior")
    assert Prior.load("~/prior").event_shape == (2,)
    assert not (tmp_path / "~").exists()
    with pytest.raises(OptionError, match="no home folder for '~nobody-at-all/x'"):
        write_text("~nobody-at-all/x", "")


def test_tensors_come_back_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "new" / "weights.safetensors"
    save_tensors(path, TENSORS, {"note": "ä"})
    tensors, metadata = load_tensors(path)
    assert metadata == {"note": "ä"}
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        torch.testing.assert_close(tensors[name], tensor, rtol=0, atol=0)
    assert leftovers(path.parent) == []


def test_files_of_others_are_read_too(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "foreign", metadata={"format": "pt"})
    tensors, metadata = load_tensors(tmp_path / "foreign")
    assert metadata == {"format": "pt"}
    assert tensors["a"].tolist() == [1.0, 1.0]


def test_tied_weights_are_saved_under_both_names(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.randn(2, 2))
    save_tensors(tmp_path / "w", {"a": weight, "b": weight, "part": weight[:1]})
    tensors, _ = load_tensors(tmp_path / "w")
    torch.testing.assert_close(tensors["a"], tensors["b"])
    torch.testing.assert_close(tensors["part"], weight[:1].detach())


def state_in(path: Path) -> dict[str, Any]:
    return parse_state(path.read_bytes(), path)


def test_state_comes_back(tmp_path: Path) -> None:
    state = {"step": 5, "rng": torch.get_rng_state(), "nested": {"a": [1, (2.5, None)], 3: "x"}}
    save_state(tmp_path / "training.pt", state)
    loaded = state_in(tmp_path / "training.pt")
    torch.testing.assert_close(loaded.pop("rng"), state.pop("rng"))
    assert loaded == state


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nothing is missing; pass the directory"):
        load_tensors(tmp_path / "nothing")


@pytest.mark.parametrize("damage", ["cut", "bit", "header", "empty", "junk"])
@pytest.mark.parametrize("kind", ["tensors", "state"])
def test_damage_of_any_sort_is_one_clear_line(kind: str, damage: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    payload = {"a": torch.randn(200)}
    save_tensors(path, payload) if kind == "tensors" else save_state(path, payload)
    data = bytearray(path.read_bytes())
    if damage == "bit":
        data[data.index(payload["a"].numpy().tobytes()) + 401] ^= 1
    elif damage == "header":
        data[2] ^= 255
    path.write_bytes({"cut": data[:-60], "empty": b"", "junk": b"junk" * 50}.get(damage, data))
    with pytest.raises(CheckpointError, match=r"truncated|corrupted") as caught:
        load_tensors(path) if kind == "tensors" else state_in(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_unpickling_never_runs_code(tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(marker),)

    torch.save({"thing": Bomb()}, tmp_path / "training.pt")
    for load in (state_in, load_tensors):
        with pytest.raises(CheckpointError):
            load(tmp_path / "training.pt")
    assert not marker.exists()


def test_everything_is_synced_before_it_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    sync, rename = writing.sync, Path.replace

    def noted(self: Path, to: Path) -> Path:
        events.append("rename")
        return rename(self, to)

    monkeypatch.setattr(writing, "sync", lambda path: (events.append(path.name), sync(path)))
    monkeypatch.setattr(Path, "replace", noted)
    write_text(tmp_path / "a", "1")
    temporary, *rest = events
    assert is_leftover(tmp_path / temporary)
    assert rest == ["rename", tmp_path.name]


def test_a_full_disk_keeps_the_previous_files(full_disk: Path) -> None:
    small, big = {"a": torch.ones(100)}, {"a": torch.randn(200_000)}
    for name, save, load in (
        ("weights", save_tensors, lambda path: load_tensors(path)[0]),
        ("training", save_state, state_in),
    ):
        path = full_disk / name
        save(path, small)
        with pytest.raises(
            CheckpointError, match=r"No space left on device.*earlier files are kept"
        ) as caught:
            save(path, big)
        assert "\n" not in str(caught.value)
        torch.testing.assert_close(load(path)["a"], small["a"])
        assert leftovers(full_disk) == []


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for write in (
        lambda: save_tensors(tmp_path / "file" / "w", TENSORS),
        lambda: save_state(tmp_path / "file" / "w", {}),
        lambda: write_text(tmp_path / "file" / "w", ""),
    ):
        with pytest.raises(CheckpointError, match=r"cannot write .*(Not a directory|File exists)"):
            write()


def test_a_bug_while_writing_keeps_its_own_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="a bug"), replacing(tmp_path / "d"):
        raise RuntimeError("a bug")


def test_json_writes_numbers_that_are_not_finite_as_null_where_it_is_asked_to(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "values.json"
    write_json(path, {"a": [math.nan, 1.5], "b": {"c": (-math.inf, 2)}, "ä": None}, indent=1, finite=True)
    text = path.read_text(encoding="utf-8")
    assert json.loads(text) == {"a": [None, 1.5], "b": {"c": [None, 2]}, "ä": None}
    assert "NaN" not in text
    assert "ä" in text
    write_json(path, {"a": math.nan})
    assert math.isnan(json.loads(path.read_text(encoding="utf-8"))["a"])


def test_a_place_is_looked_at_before_what_takes_long(tmp_path: Path) -> None:
    check_place(tmp_path / "new" / "folders" / "a.npz")
    assert list(tmp_path.iterdir()) == [], "nothing is left there"
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"file is a file, not a folder"):
        check_place(tmp_path / "file" / "a.npz")
    with pytest.raises(CheckpointError, match=r"no file can be made in /proc"):
        check_place("/proc/a.npz")


# -- digests --------------------------------------------------------------------------------------


def test_tensors_count_by_name_type_shape_and_bytes() -> None:
    tensors = {"a": torch.zeros(2, 3), "b": torch.ones(1)}
    same = {"b": torch.ones(1), "a": torch.zeros(2, 3)}
    others = [
        {"a": torch.zeros(3, 2), "b": torch.ones(1)},
        {"a": torch.zeros(2, 3).double(), "b": torch.ones(1)},
        {"c": torch.zeros(2, 3), "b": torch.ones(1)},
        {"a": torch.zeros(2, 3), "b": torch.tensor([1.0000001])},
    ]
    found = {tensors_digest(t) for t in (tensors, same, *others)}
    assert tensors_digest(tensors) == tensors_digest(same)
    assert len(found) == 1 + len(others)
    assert tensors_digest({"h": torch.zeros(3, dtype=torch.bfloat16)}) != tensors_digest({})


def test_data_count_by_events_and_conditions(generator: torch.Generator) -> None:
    x, cond = torch.randn(20, 2, generator=generator), torch.arange(20) % 2
    digest = data_digest(TensorData(x, cond, name="one"))
    assert digest == data_digest(TensorData(x.clone(), cond.clone(), name="another"))
    moved = x.clone()
    moved[3, 1] += 1e-6
    others = [
        TensorData(moved, cond),
        TensorData(x),
        TensorData(x, cond, classes=3),
        TensorData(x[1:], cond[1:]),
    ]
    assert len({digest, *map(data_digest, others)}) == 5


def test_a_module_counts_by_its_plain_attributes_too() -> None:
    one, same, other = (module_description(torch.nn.LeakyReLU(slope)) for slope in (0.1, 0.1, 0.3))
    assert one == same != other


def test_settings_count_whatever_their_order() -> None:
    assert settings_digest({"a": 1, "b": [2]}) == settings_digest({"b": [2], "a": 1})
    assert settings_digest({"a": 1}) != settings_digest({"a": 2})


def test_files_are_checked_by_their_digest(tmp_path: Path) -> None:
    file = tmp_path / "w.bin"
    file.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    assert file_sha256(file) == digest
    assert checked_file(file, digest, "x") == checked_file(file, digest[:8].upper(), "x") == file
    with pytest.raises(InputError, match=f"x: .*w.bin has sha256 {digest[:12]}…, expected 0000000000…"):
        checked_file(file, "0" * 10, "x")
    with pytest.raises(InputError, match="sha256='' is no digest"):
        checked_file(file, "", "x")
    with pytest.raises(DataNotFoundError, match="flowprior downloads none"):
        checked_file(tmp_path / "gone", digest, "x")


# -- the lock of a folder -------------------------------------------------------------------------


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
