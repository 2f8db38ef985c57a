"""Shards made to mislead: names, links, long headers, impossible sizes, damage in the middle."""

from __future__ import annotations

import io
import tarfile

import pytest
import torch

from flowprior.data import load_data
from flowprior.data.tar_index import ShardCut, shard_records
from flowprior.errors import InputError
from tests.data_records import add, array, numbered, picture, write_tar


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("FLOWPRIOR_CACHE", str(tmp_path / "cache"))


def keys(shard):
    return [(record.key, sorted(record.places)) for record in shard_records(shard)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jpg", ("a", ["jpg"])),
        ("folder.x/a.seg.PNG", ("folder.x/a", ["seg.png"])),
        ("/etc/passwd.npy", ("/etc/passwd", ["npy"])),
        ("../../up.npy", ("../../up", ["npy"])),
        ("./a.npy", ("./a", ["npy"])),
        ("né €.npy", ("né €", ["npy"])),
        ("no suffix", None),
        (".hidden", None),
        ("folder/.hidden", None),
        ("__index__/a.npy", None),
    ],
)
def test_a_name_gives_key_and_suffix_as_in_webdataset(name, expected, tmp_path):
    shard = write_tar(tmp_path / "a.tar", [])
    with tarfile.open(shard, "w") as archive:
        add(archive, name, b"x")
    assert keys(shard) == ([] if expected is None else [expected])


def test_equal_keys_in_different_folders_and_places_are_records_of_their_own(tmp_path):
    names = ["a/1.npy", "b/1.npy", "a/1.npy", "a/1.cls"]
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name in names:
            add(archive, name, b"x")
    assert keys(tmp_path / "a.tar") == [("a/1", ["npy"]), ("b/1", ["npy"]), ("a/1", ["cls", "npy"])]


def test_a_member_that_comes_twice_makes_a_corrupt_record(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name in ("1.npy", "1.npy", "2.npy"):
            add(archive, name, array([1.0, 2.0]))
    with pytest.warns(RuntimeWarning, match=r"a\.tar: 1; the first: it has two members npy"):
        assert len(load_data(str(tmp_path / "a.tar"), max_corrupt=1, test_fraction=0)) == 1


def test_links_devices_and_folders_are_passed_over(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)
        for number, kind in enumerate(kinds):
            add(archive, f"{number}.npy", b"", type=kind, linkname="/etc/passwd")
        add(archive, "real.npy", array([1.0]))
    assert keys(tmp_path / "a.tar") == [("real", ["npy"])]


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_names_and_extended_headers_are_read(kind, tmp_path):
    name = "/".join(["folder" * 20] * 5) + "/ünïcode"
    with tarfile.open(tmp_path / "a.tar", "w", format=kind, pax_headers={"comment": "x" * 5000}) as archive:
        for suffix in ("npy", "cls"):
            add(archive, f"{name}.{suffix}", array([7.0, 8.0]) if suffix == "npy" else b"0")
    data = load_data(str(tmp_path / "a.tar"), test_fraction=0)
    assert data.batch(torch.tensor([0]))[0].tolist() == [[7.0, 8.0]]


def header(name, size=0, kind=tarfile.REGTYPE, form=tarfile.GNU_FORMAT):
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(form)


def block(content):
    return content + b"\0" * (-len(content) % 512)


GOOD = header("good.npy", len(array([1.0]))) + block(array([1.0]))


@pytest.mark.parametrize(
    "bad",
    [
        header("huge.npy", 1 << 40),
        header("negative.npy", -1024),
        header("long", 1 << 40, tarfile.GNUTYPE_LONGNAME),
        header("pax", 1 << 40, tarfile.XHDTYPE),
        header("pax", 512, tarfile.XHDTYPE) + block(b"20 size=-1000000000\n") + header("x.npy"),
        header("pax", 512, tarfile.XHDTYPE) + block(b"99999 path=\n"),
        block(b"garbage in place of a header"),
        header("a.npy", 3)[:300],
        header("l", 4, tarfile.GNUTYPE_LONGNAME) + block(b"abc\0"),
        (header("l", 4, tarfile.GNUTYPE_LONGNAME) + block(b"abc\0")) * 3000,
    ],
    ids=range(10),
)
def test_impossible_headers_end_a_shard_where_they_are(bad, tmp_path):
    (tmp_path / "a.tar").write_bytes(GOOD + bad)
    records = shard_records(tmp_path / "a.tar")
    assert next(records).key == "good"
    with pytest.raises(ShardCut):
        next(records)


@pytest.mark.parametrize(
    "content", [b"", b"text" * 300, b"\x1f\x8b" + b"z" * 2000, header("long", 1 << 40, b"L")]
)
def test_what_is_no_tar_is_refused_in_one_line(content, tmp_path):
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.tar: expected an uncompressed \.tar") as caught:
        load_data(str(tmp_path / "a.tar"))
    assert "\n" not in str(caught.value)


def test_packed_shards_are_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w:gz") as archive:
        add(archive, "a.npy", array([1.0]))
    with pytest.raises(InputError, match="expected an uncompressed"):
        load_data(str(tmp_path / "a.tar"))


def test_members_beyond_a_size_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("flowprior.data.shard_index.MOST_EVENT_BYTES", 2000)
    noise = picture(0) + bytes(3000)
    shard = write_tar(tmp_path / "a.tar", [*numbered(range(3)), ("large", {"png": noise, "cls": b"0"})])
    with pytest.warns(RuntimeWarning, match=r"large; the first: its png has 3,\d+ bytes, at most 2,000"):
        assert len(load_data(str(shard), test_fraction=0, max_corrupt=1)) == 3


def test_a_sparse_member_is_passed_over(tmp_path):
    buffer = io.BytesIO(array([1.0]))
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        member = tarfile.TarInfo("sparse.npy")
        member.type, member.size = tarfile.GNUTYPE_SPARSE, len(buffer.getvalue())
        archive.addfile(member, buffer)
        add(archive, "real.npy", array([1.0]))
    assert [key for key, _ in keys(tmp_path / "a.tar")] in (["real"], ["sparse", "real"])
