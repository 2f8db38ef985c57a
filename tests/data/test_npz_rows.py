"""Arrays in .npz files as memory maps, stored or packed."""

from __future__ import annotations

import shutil
import zipfile

import numpy as np
import pytest

from flowprior.data import npz_rows as module
from flowprior.data.npz_rows import npz_rows, npz_shape
from flowprior.errors import InputError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOWPRIOR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    "array", [np.arange(12).reshape(3, 4), np.asfortranarray(np.eye(3)), np.zeros((0, 2))]
)
def test_an_array_comes_back(save, array, tmp_path):
    save(tmp_path / "a.npz", first=np.ones(3), second=array)
    found = npz_rows(tmp_path / "a.npz", "second")
    assert np.array_equal(found, array)
    assert found.dtype == array.dtype
    assert npz_shape(tmp_path / "a.npz", "second") == (array.shape, array.dtype)


def test_a_file_that_changed_is_unpacked_anew(tmp_path):
    for value in (1, 2):
        np.savez_compressed(tmp_path / "a.npz", a=np.full(1000, value))
        assert npz_rows(tmp_path / "a.npz", "a")[0] == value


def test_what_does_not_fit_in_the_cache_is_refused_before_it_is_unpacked(tmp_path, monkeypatch, cache):
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(1000))
    full = shutil._ntuple_diskusage(total=10, used=9, free=1)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: full)
    with pytest.raises(
        InputError, match=r"is packed, and 8,128 bytes of it do not fit in .*, which has 1 left"
    ):
        npz_rows(tmp_path / "a.npz", "a")
    assert not cache.exists()


def test_damage_inside_a_packed_array_leaves_nothing_half_written(tmp_path, cache):
    np.savez_compressed(tmp_path / "a.npz", a=np.random.default_rng(0).integers(256, size=99_999))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[len(content) // 2] ^= 255
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"a.npz: cannot be read as .npz"):
        npz_rows(tmp_path / "a.npz", "a")
    assert not list(cache.glob("*"))


def test_a_header_that_promises_more_than_there_is_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(10))
    content = (tmp_path / "a.npy").read_bytes().replace(b"(10,)", b"(99,)")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", content)
    with pytest.raises(InputError, match=r"expected 920 bytes for an array of shape \[99\], got 208"):
        npz_rows(tmp_path / "a.npz", "a")
