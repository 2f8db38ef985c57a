"""Records that cannot be read: counted, named, replaced or left out, and refused beyond a limit."""

from __future__ import annotations

import warnings

import pytest
import torch

from flowprior.data import load_data, split_validation
from flowprior.data.corrupt import CorruptRecords, printable
from flowprior.data.facts import data_facts
from flowprior.errors import InputError
from tests.data_records import array, numbered, picture, reds, write_shards, write_tar

WHOLE = numbered(range(10))


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("FLOWPRIOR_CACHE", str(tmp_path / "cache"))


def spoilt(place, **members):
    """Ten records, of which one has other members."""
    records = list(WHOLE)
    key, old = records[place]
    records[place] = (key, {name: value for name, value in {**old, **members}.items() if value is not None})
    return records


JPEG = picture(3, (64, 64), "JPEG")
UNDECODABLE = {
    "a truncated JPEG": JPEG[: len(JPEG) // 2],
    "an empty file": b"",
    "no picture": b"no picture",
    "another size": picture(3, (9, 8)),
}


@pytest.mark.parametrize("content", UNDECODABLE.values(), ids=UNDECODABLE.keys())
def test_a_picture_that_cannot_be_decoded_is_named_and_replaced_by_the_next_of_its_label(content, tmp_path):
    path = str(write_tar(tmp_path / "part-7.tar", spoilt(3, png=content)))
    data = load_data(path, test_fraction=0, max_corrupt=1)
    with pytest.warns(RuntimeWarning, match=r"1 of 10 records .* part-7\.tar: 00003 at byte .* replaced"):
        x, cond = data.batch(torch.arange(10))
    assert reds(x) == [0, 1, 2, 5, 4, 5, 6, 7, 8, 9]
    assert cond.tolist() == data.conditions(torch.arange(10)).tolist() == [0, 1] * 5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert reds(data.batch(torch.tensor([3]))[0]) == [5]
    facts = data_facts(data)["corrupt_records"]
    assert (facts["count"], facts["limit"]) == (1, 1)
    with pytest.raises(InputError, match=r"1 of 10 records .* more than max_corrupt=0\.001 allows \(0\)"):
        load_data(path, test_fraction=0).batch(torch.arange(10))


INCOMPLETE = {
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
    with pytest.warns(RuntimeWarning, match=rf"1 of 10 records .* a\.tar: 00003; the first: {expected}"):
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
    data = load_data(str(write_tar(tmp_path / "a.tar", records)), test_fraction=0, max_corrupt=1)
    with pytest.warns(RuntimeWarning, match=r"a\.tar: bad at byte"):
        assert data.batch(torch.arange(4))[0][:, 0].tolist() == [0, 1, 3, 3]


@pytest.mark.filterwarnings("ignore:.*a.tar. huge:RuntimeWarning")
def test_a_header_that_declares_a_huge_array_costs_no_memory(tmp_path):
    honest = array([0.0, 0.0])
    huge = honest.replace(b"(2,), }", b"(9999999999999,), }")[: len(honest)]
    assert huge != honest
    records = [("huge", {"npy": huge}), ("a", {"npy": honest})]
    data = load_data(str(write_tar(tmp_path / "a.tar", records)), test_fraction=0, max_corrupt=1)
    assert data.event_shape == (2,)


def test_the_first_record_may_be_corrupt(tmp_path):
    path = str(write_tar(tmp_path / "a.tar", spoilt(0, png=b"no picture")))
    with pytest.warns(RuntimeWarning, match="00000"):
        data = load_data(path, test_fraction=0, max_corrupt=1)
    assert reds(data.batch(torch.tensor([0]))[0]) == [2]


def test_a_label_without_any_readable_record_is_an_error(tmp_path):
    records = numbered(range(6), classes=6)
    records[4] = ("00004", {"png": b"", "cls": b"4"})
    data = load_data(str(write_tar(tmp_path / "a.tar", records)), test_fraction=0, max_corrupt=3)
    with (
        pytest.raises(InputError, match=r"00004 .* no record like it can be read"),
        pytest.warns(RuntimeWarning),
    ):
        data.batch(torch.arange(6))


def test_a_captioned_picture_is_replaced_together_with_its_caption(tmp_path, words):
    records = [(str(k), {"png": picture(k), "txt": f"thing {k}".encode()}) for k in range(5)]
    records[1] = ("1", {"png": b"", "txt": b"thing 1"})
    path = str(write_tar(tmp_path / "a.tar", records))
    data = load_data(path, encoder="words", test_fraction=0, max_corrupt=1)
    with pytest.warns(RuntimeWarning):
        conditions = data.conditions(torch.arange(5))
    assert torch.equal(conditions[1], conditions[2])
    again = load_data(path, encoder="words", test_fraction=0, max_corrupt=1)
    with pytest.warns(RuntimeWarning):
        x, cond = again.batch(torch.arange(5))
    assert torch.equal(cond, conditions)
    assert reds(x) == [0, 2, 2, 3, 4]


def test_a_part_shows_no_event_of_another_part(tmp_path):
    records = [(key, {**members, "png": b""} if int(key) % 5 == 0 else members) for key, members in WHOLE * 4]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = load_data(str(write_tar(tmp_path / "a.tar", records)), test_fraction=0, max_corrupt=1.0)
        for part in split_validation(data, 12):
            own = {index % 10 for index in part.indices.tolist() if index % 5}
            found = part.data._readable(part.indices)[1].tolist()
            assert set(found) <= set(part.indices.tolist())
            assert set(reds(part.batch(torch.arange(len(part)))[0])) == own


@pytest.mark.filterwarnings("ignore:.*it has no cls, only png:RuntimeWarning")
def test_a_shard_that_is_cut_off_gives_what_lies_before(tmp_path):
    folder = write_shards(tmp_path / "shards", (6, 6, 6))
    whole = (folder / "01.tar").read_bytes()
    with pytest.raises(InputError, match=r"more than max_corrupt=0\.001 allows \(0\)"):
        cut(folder / "01.tar", whole, 0.5)
    for kept in (0.3, 0.5, 0.8):
        with pytest.warns(RuntimeWarning, match=r"at the end of 01\.tar; the first: .*after record"):
            data = cut(folder / "01.tar", whole, kept, max_corrupt=6)
        assert 12 < len(data) < 18
        assert data.corrupt.count == 18 - len(data)
        assert reds(data.batch(torch.arange(len(data)))[0])[-6:] == list(range(12, 18))


def cut(file, content, kept, **options):
    """The data set of a folder of shards of which one is cut off."""
    length = len(content.rstrip(b"\0"))  # an archive ends in many zeros
    file.write_bytes(content[: int(kept * length) // 512 * 512 + 100])
    return load_data(str(file.parent), test_fraction=0, **options)


def test_a_shard_that_ends_between_two_members_is_noticed(tmp_path):
    folder = write_shards(tmp_path / "shards", (6, 6))
    content = (folder / "00.tar").read_bytes()
    (folder / "00.tar").write_bytes(content.rstrip(b"\0") + b"\0" * (-len(content.rstrip(b"\0")) % 512))
    with pytest.warns(RuntimeWarning, match="ends without the mark of an archive's end"):
        assert len(load_data(str(folder), test_fraction=0, max_corrupt=1)) == 12


def test_the_first_ten_are_told_one_by_one_and_later_ones_by_powers_of_ten():
    corrupt, told = CorruptRecords("set", 10_000, 0.5), []
    for number in range(250):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            corrupt.add({f"record {number}": "bad"}, "gone")
            corrupt.add({f"record {number}": "bad"}, "gone")
        told += [number + 1] * len(caught)
    assert told == [*range(1, 11), 100]
    assert corrupt.facts() == {"count": 250, "limit": 5000, "first": ["record 0", "record 1", "record 2"]}


def test_names_of_files_are_printed_on_one_line():
    assert printable("a\nb\x1b[31m\udcff") == r"a\nb\x1b[31m\udcff"
    assert len(printable("x" * 1000)) == 120
