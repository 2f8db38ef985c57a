"""Shards written by the test: what comes back, in which order, what is left out and what is refused."""

from __future__ import annotations

import json
import tarfile

import numpy as np
import pytest
import torch

from flowprior.data import load_data
from flowprior.data.base import data_facts
from flowprior.errors import InputError
from flowprior.extensions.shards.data import ShardData
from tests.data_records import add, array, numbered, picture, reds, write_shards, write_tar
from tests.extensions.conftest import refused

wds = pytest.importorskip("webdataset", reason="extra shards")


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("FLOWPRIOR_CACHE", str(tmp_path / "cache"))


def test_uneven_shards_come_back_in_any_order(tmp_path):
    data = load_data(str(write_shards(tmp_path / "shards")), test_fraction=0)
    assert isinstance(data, ShardData)
    assert (len(data), data.event_shape, data.is_image) == (12, (3, 8, 8), True)
    order = torch.tensor([11, 0, 5, 5, 8, 4])
    x, cond = data.batch(order)
    assert reds(x) == order.tolist()
    assert cond.tolist() == data.conditions(order).tolist() == [1, 0, 1, 1, 0, 0]
    assert data.batch(order[:0])[0].shape == (0, 3, 8, 8)


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # webdataset leaves it open
def test_what_webdataset_writes_is_read_as_webdataset_reads_it(tmp_path):
    with wds.TarWriter(str(tmp_path / "a.tar")) as shard:
        for key in range(4):
            latent = np.full((2, 3), key, np.float32)
            shard.write({"__key__": f"some/folder/{key}", "npy": latent, "cls": key, "json": {"y": key}})
    data = load_data(str(tmp_path / "a.tar"), test_fraction=0)
    theirs = list(wds.WebDataset(str(tmp_path / "a.tar"), shardshuffle=False).decode())
    x, cond = data.batch(torch.arange(4))
    assert not data.is_image
    assert torch.equal(x, torch.stack([torch.from_numpy(record["npy"]) for record in theirs]))
    assert cond.tolist() == [record["cls"] for record in theirs]


def test_shards_are_unpacked_once_and_anew_where_they_changed(tmp_path, monkeypatch):
    folder = write_shards(tmp_path / "shards")
    first = load_data(str(folder), test_fraction=0)
    assert all(isinstance(array, np.memmap) for array in first._events.arrays)
    with monkeypatch.context() as patched:
        patched.setattr("flowprior.extensions.shards.unpacking._unpack", None)
        again = load_data(str(folder), test_fraction=0)
    assert again.fingerprint() == first.fingerprint()
    assert torch.equal(again.batch(torch.arange(12))[0], first.batch(torch.arange(12))[0])
    write_tar(folder / "01.tar", numbered(range(20, 29)))
    changed = load_data(str(folder), test_fraction=0)
    assert len(changed) == 18
    assert changed.fingerprint() != first.fingerprint()
    assert reds(first.batch(torch.tensor([6]))[0]) == [6]


@pytest.mark.parametrize(
    "names", [("train/a.tar", "val/b.tar"), ("set-train-00.tar", "set-validation-00.tar")]
)
def test_shards_may_bring_their_own_splits(names, tmp_path):
    for place, name in enumerate(names):
        write_tar(tmp_path / "all" / name, numbered(range(10 * place, 10 * place + 4), classes=3))
    train, test = (load_data(str(tmp_path / "all"), split) for split in ("train", "test"))
    assert reds(train.batch(torch.arange(4))[0]) == [0, 1, 2, 3]
    assert reds(test.batch(torch.arange(4))[0]) == [10, 11, 12, 13]
    assert train.condition == test.condition


def test_other_shards_are_divided_by_label(tmp_path):
    folder = str(write_shards(tmp_path / "shards", (12, 8)))
    parts = [load_data(folder, split, test_fraction=0.2) for split in ("train", "test")]
    found = [reds(part.batch(torch.arange(len(part)))[0]) for part in parts]
    assert sorted(found[0] + found[1]) == list(range(20))
    assert parts[1].labels.bincount().tolist() == [2, 2]


@pytest.mark.parametrize("pattern", ["*.tar", "{00..02}.tar", "0[012].tar", "{00,01,02}.tar"])
def test_patterns_name_shards(pattern, tmp_path):
    folder = write_shards(tmp_path / "shards")
    assert len(load_data(str(folder / pattern), test_fraction=0)) == 12


def test_labels_are_names_where_cls_holds_texts(tmp_path):
    records = [
        (str(k), {"png": picture(k), "cls": name}) for k, name in enumerate([b"cat\n", b"ape", b"cat"])
    ]
    data = load_data(str(write_tar(tmp_path / "a.tar", records)), test_fraction=0)
    assert data.class_names == ["ape", "cat"]
    assert data.conditions(torch.arange(3)).tolist() == [1, 0, 1]


def test_labels_may_be_a_field_of_json_and_may_be_left_out(tmp_path):
    records = [(str(k), {"json": json.dumps({"kind": k}).encode(), "npy": array([k, 1.0])}) for k in range(3)]
    path = str(write_tar(tmp_path / "a.tar", records))
    data = load_data(path, test_fraction=0, label="json.kind")
    assert data.batch(torch.tensor([2, 1]))[1].tolist() == [2, 1]
    assert load_data(path, test_fraction=0).condition.kind == "none"
    assert load_data(path, test_fraction=0, label="none").batch(torch.arange(3))[1] is None


def test_captions_are_embedded_and_share_a_split(tmp_path, words):
    records = [(str(k), {"png": picture(k), "txt": f"a {k // 2} thing".encode()}) for k in range(8)]
    path = str(write_tar(tmp_path / "a.tar", records))
    parts = [load_data(path, split, encoder="words", test_fraction=0.5) for split in ("train", "test")]
    assert not set(parts[0].captions) & set(parts[1].captions)
    data, rows = load_data(path, encoder="words", test_fraction=0), torch.tensor([5, 4, 0])
    cond = data.batch(rows)[1]
    assert data.captions[5] == "a 2 thing"
    assert torch.equal(cond, words().encode([data.captions[row] for row in rows]).pooled)
    assert torch.equal(cond, data.conditions(rows))
    assert load_data(path, encoder=None, test_fraction=0).condition.kind == "none"


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("shards", {"event": "pth"}, "anything else would have to be unpickled"),
        ("shards", {"event": "png;npy"}, "not possible"),
        ("shards", {"label": "cls", "text": "txt"}, "exclude each other"),
        ("shards", {"max_corrupt": -1}, "max_corrupt=-1 is not possible"),
        ("shards", {"max_corrupt": 1.5}, "max_corrupt=1.5 is not possible"),
        ("shards", {"size": 0}, "size=0 is not possible"),
        ("shards", {"split": "val"}, "split='val'"),
        ("shards/{0..3.tar", {}, "is no pattern"),
        ("shards/{00..03}.tar", {}, r"no file .*03\.tar"),
        ("absent.tar", {}, r"no file .*absent\.tar"),
        (".", {}, r"no \.tar files in"),
        ("https://host/a.tar", {}, "is a stream; put the shards on this machine"),
        ("pipe:curl host/a.tar", {}, "is a stream; put the shards on this machine"),
        ("s3://bucket/{0..3}.tar", {}, "is a stream; put the shards on this machine"),
        (None, {}, "path is missing"),
    ],
)
def test_places_and_options_that_are_not_possible_are_refused(path, options, message, tmp_path, monkeypatch):
    write_shards(tmp_path / "shards")
    monkeypatch.chdir(tmp_path)
    with refused(message):
        load_data("shards" if path is None else f"shards:path={path}", **options)


def test_pictures_are_scaled_on_request_and_else_of_the_first_ones_size(tmp_path):
    one, other = ("a", {"png": picture(9, (8, 8))}), ("b", {"png": picture(7, (20, 10))})
    path = str(write_tar(tmp_path / "a.tar", [one, other]))
    scaled = load_data(path, size=4, channels=1, test_fraction=0)
    assert scaled.batch(torch.arange(2))[0].shape == (2, 1, 4, 4)
    with refused("expected 8 x 8 pixels as in the first image, got 20 x 10", InputError):
        load_data(path, test_fraction=0)
    for name, record in (("b", one), ("c", other)):
        write_tar(tmp_path / "two" / f"{name}.tar", [record])
    with refused(r"c\.tar: expected events \[3, 8, 8\] as in b\.tar, got", InputError):
        load_data(str(tmp_path / "two"), test_fraction=0)


def test_links_devices_and_folders_are_passed_over_and_a_member_comes_once(tmp_path):
    kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for number, kind in enumerate(kinds):
            add(archive, f"{number}.npy", b"", type=kind, linkname="/etc/passwd")
        add(archive, "real.npy", array([1.0]))
    assert load_data(str(tmp_path / "a.tar"), test_fraction=0).batch(torch.arange(1))[0].tolist() == [[1.0]]
    with tarfile.open(tmp_path / "a.tar", "a") as archive:
        add(archive, "real.npy", array([1.0]))
    with refused(r"a\.tar: cannot be read .*duplicate file name", InputError):
        load_data(str(tmp_path / "a.tar"))


@pytest.mark.parametrize("kept", [0.3, 0.5, 0.8])
def test_a_shard_that_is_cut_off_is_refused_and_leaves_nothing_half_written(kept, tmp_path):
    file = write_tar(tmp_path / "a.tar", numbered(range(40)))
    length = len(file.read_bytes().rstrip(b"\0"))  # an archive ends in many zeros
    file.write_bytes(file.read_bytes()[: int(kept * length) // 512 * 512 + 100])
    with pytest.raises(InputError, match=r"a\.tar: cannot be read to its end as \.tar .*download it again"):
        load_data(str(file))
    assert not list((tmp_path / "cache").glob("*"))


# -- records that cannot be used ------------------------------------------------------------------


pytest.importorskip("webdataset", reason="extra shards")

WHOLE = numbered(range(10))


def spoilt(place, **members):
    """Ten records, of which one has other members."""
    key, old = WHOLE[place]
    kept = {name: value for name, value in {**old, **members}.items() if value is not None}
    return [*WHOLE[:place], (key, kept), *WHOLE[place + 1 :]]


JPEG = picture(3, (64, 64), "JPEG")
UNDECODABLE = {
    "a truncated JPEG": JPEG[: len(JPEG) // 2],
    "an empty file": b"",
    "no picture": b"no picture",
}


@pytest.mark.parametrize("place", [0, 3])
@pytest.mark.parametrize("content", UNDECODABLE.values(), ids=UNDECODABLE.keys())
def test_a_picture_that_cannot_be_decoded_is_named_and_left_out(content, place, tmp_path):
    path = str(write_tar(tmp_path / "part-7.tar", spoilt(place, png=content)))
    named = rf"1 of 10 records .* part-7\.tar: 0000{place} \(record {place}\).* left out"
    with pytest.warns(RuntimeWarning, match=named):
        data = load_data(path, test_fraction=0, max_corrupt=1)
    x, cond = data.batch(torch.arange(9))
    left = [number for number in range(10) if number != place]
    assert reds(x) == left
    assert cond.tolist() == data.conditions(torch.arange(9)).tolist() == [number % 2 for number in left]
    assert data_facts(data)["corrupt_records"]["count"] == 1
    with refused(r"1 of 10 records .* more than max_corrupt=0\.001 allows \(0\)", InputError):
        load_data(path, test_fraction=0)


INCOMPLETE = {
    "a picture of another size": ({"png": picture(3, (9, 8))}, "expected 8 x 8 pixels"),
    "no event": ({"png": None}, "it has no jpg.* or png"),
    "no label": ({"cls": None}, "it has no cls, only png"),
    "a label that is no number": ({"cls": b"x7"}, "its label is 'x7'"),
    "a negative label": ({"cls": b"-3"}, "its label is '-3'"),
    "a label without bounds": ({"cls": b"9" * 5000}, "its label is '99"),
    "a label that is no text": ({"cls": b"\xff\xfe"}, "its cls cannot be read"),
}


@pytest.mark.parametrize(("members", "reason"), INCOMPLETE.values(), ids=INCOMPLETE.keys())
def test_a_record_that_lacks_something_is_left_out(members, reason, tmp_path):
    event = "png" if members.get("png", b"") is None else "auto"
    path = str(write_tar(tmp_path / "a.tar", spoilt(3, **members)))
    expected = "it has no png, only cls" if event == "png" else reason
    name = "event 3" if "its label" in reason else r"00003 \(record 3\)"
    with pytest.warns(RuntimeWarning, match=rf"1 of 10 records .* a\.tar: {name}; the first: {expected}"):
        data = load_data(path, test_fraction=0, max_corrupt=0.1, event=event)
    assert reds(data.batch(torch.arange(9))[0]) == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    with pytest.raises(InputError, match=r"allows \(0\)"):
        load_data(path, test_fraction=0, max_corrupt=0.09)


@pytest.mark.parametrize(
    "content",
    [array([1.0, float("nan")]), array([1.0, 2.0, 3.0]), array([1, 2], "int64"), array([1.0, 2.0])[:-1]],
)
def test_arrays_that_are_no_events_are_corrupt(content, tmp_path):
    records = [(str(k), {"npy": array([k, k])}) for k in range(4)]
    records[2] = ("bad", {"npy": content})
    with pytest.warns(RuntimeWarning, match=r"a\.tar: bad \(record 2\)"):
        data = load_data(str(write_tar(tmp_path / "a.tar", records)), test_fraction=0, max_corrupt=1)
    assert data.batch(torch.arange(3))[0][:, 0].tolist() == [0, 1, 3]


@pytest.mark.filterwarnings("ignore:.*a.tar. huge:RuntimeWarning")
def test_a_header_that_declares_a_huge_array_costs_no_memory(tmp_path):
    honest = array([0.0, 0.0])
    huge = honest.replace(b"(2,), }", b"(9999999999999,), }")[: len(honest)]
    assert huge != honest
    records = [("huge", {"npy": huge}), ("a", {"npy": honest})]
    data = load_data(str(write_tar(tmp_path / "a.tar", records)), test_fraction=0, max_corrupt=1)
    assert data.event_shape == (2,)
