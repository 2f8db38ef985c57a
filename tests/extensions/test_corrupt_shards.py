"""Records of shards that cannot be used: counted, named, left out, and refused beyond a limit."""

from __future__ import annotations

import pytest
import torch

from flowprior.data import load_data
from flowprior.data.base import data_facts
from flowprior.errors import InputError
from tests.data_records import array, numbered, picture, reds, write_tar
from tests.extensions.conftest import refused

pytest.importorskip("webdataset", reason="extra shards")

WHOLE = numbered(range(10))


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("FLOWPRIOR_CACHE", str(tmp_path / "cache"))


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
    facts = data_facts(data)["corrupt_records"]
    assert facts["count"] == 1
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
