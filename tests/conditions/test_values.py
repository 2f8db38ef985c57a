"""Token states and parts travel as one tensor does: rows, devices, pieces, joins and choices."""

from __future__ import annotations

import pytest
import torch

from flowprior.conditions import Condition, Parts, TokenStates
from flowprior.conditions.rows import (
    chosen,
    equal,
    joined,
    moved,
    named_tensors,
    pieces,
    pinned,
    repeated,
    rows,
    value_of_tensors,
)
from flowprior.errors import InputError

COUNT = 6


def tokens(count: int = COUNT, length: int = 4, size: int = 3, seed: int = 0) -> TokenStates:
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(count, length, size, generator=generator)
    lengths = torch.arange(count) % length + 1
    return TokenStates(states, torch.arange(length) < lengths[:, None])


def values(count: int = COUNT, seed: int = 0) -> dict[str, torch.Tensor | TokenStates]:
    """One value of each kind a part may have, and one of a shape to come."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "style": torch.randint(0, 3, (count,), generator=generator),
        "caption": torch.randn(count, 5, generator=generator),
        "words": tokens(count, seed=seed),
        "sketch": torch.randn(count, 1, 2, 2, generator=generator),
    }


EACH = [*values(), "parts"]


def value(name: str, seed: int = 0) -> torch.Tensor | TokenStates | Parts:
    return Parts(values(seed=seed)) if name == "parts" else values(seed=seed)[name]


every_value = pytest.mark.parametrize("name", EACH)
INDICES = [slice(1, 4), torch.tensor([3, 0, 3]), torch.arange(COUNT) % 2 == 0, slice(0, 0)]


def plain(cond) -> list[torch.Tensor]:
    return list(named_tensors(cond).values())


@every_value
@pytest.mark.parametrize("index", INDICES, ids=["slice", "places", "mask", "none"])
def test_rows_are_those_of_every_tensor(name, index):
    cond = value(name)
    taken = rows(cond, index)
    assert type(taken) is type(cond)
    assert len(taken) == len(torch.arange(COUNT)[index])
    for part, whole in zip(plain(taken), plain(cond), strict=True):
        assert torch.equal(part, whole[index])
    assert rows(None, index) is None


@every_value
def test_pieces_joined_are_the_whole(name):
    cond = value(name)
    cut = pieces(cond, 4, COUNT)
    assert [len(piece) for piece in cut] == [4, 2]
    assert equal(joined(cut), cond)
    assert equal(joined([cond]), cond)
    assert pieces(None, 4, COUNT) == [None, None]
    assert [pieces(None, 4, count) for count in (0, 4, 5)] == [[None], [None], [None, None]]
    assert joined([None, None]) is None


@every_value
def test_rows_are_chosen_over_all_parts_at_once(name):
    mask = torch.tensor([True, False, False, True, False, True])
    first, second = value(name), value(name, seed=1)
    mixed = chosen(mask, first, second)
    assert equal(rows(mixed, mask), rows(first, mask))
    assert equal(rows(mixed, ~mask), rows(second, ~mask))


@every_value
def test_what_a_tensor_does_is_done_to_each(name, monkeypatch):
    cond = value(name)
    monkeypatch.setattr(torch.Tensor, "pin_memory", torch.Tensor.clone)  # which needs a GPU
    assert len(cond) == COUNT
    assert cond.device == torch.device("cpu")
    for other in (cond.cpu(), cond.detach(), cond.clone(), moved(cond, "cpu"), pinned(cond)):
        assert equal(other, cond)
        assert isinstance(cond, torch.Tensor) or other != cond, "== does not compare numbers"
    assert [len(part) for part in cond.split(5)] == [5, 1]
    assert [len(part) for part in rows(cond, slice(0, 0)).split(5)] == [0]
    assert equal(rows(repeated(cond, 2), slice(None, None, 2)), cond)
    for tensor, before in zip(plain(cond.to(torch.float64)), plain(cond), strict=True):
        if before.is_floating_point():
            assert tensor.dtype == torch.float64
        elif name != "style":
            assert tensor.dtype == before.dtype, "only floating-point numbers of several tensors are cast"


@every_value
def test_files_hold_each_tensor_under_a_name_that_leads_back(name):
    cond = value(name)
    for prefix in ("cond", "y"):
        stored = named_tensors(cond, prefix) | {"x": torch.zeros(COUNT, 2)}
        found = value_of_tensors(stored, prefix)
        assert equal(Parts(found) if isinstance(found, dict) else found, cond)
    assert value_of_tensors({"x": torch.zeros(1)}) is None
    assert named_tensors(None) == {}


def test_stored_names_say_what_they_hold():
    names = set(named_tensors(Parts(values())))
    assert names == {"cond.caption", "cond.sketch", "cond.style", "cond.words", "cond.words.mask"}


def test_parts_are_read_by_name_in_one_order_whatever_they_were_given_in():
    parts = Parts(values())
    assert parts.names == ("caption", "sketch", "style", "words")
    assert parts["style"] is dict(parts.items())["style"]
    assert "style" in parts
    assert "size" not in parts
    assert parts.only(("style",)).names == ("style",)
    with pytest.raises(InputError, match="no part 'size'; there are caption, sketch, style, words"):
        parts["size"]
    with pytest.raises(TypeError):
        list(parts)


def test_token_states_of_two_lengths_are_joined_by_padding():
    short, long = tokens(length=2), tokens(length=5)
    both = joined([short, long])
    assert both.states.shape == (2 * COUNT, 5, 3)
    assert not both.mask[:COUNT, 2:].any()
    assert torch.equal(both.states[:COUNT, :2], short.states)
    assert torch.allclose(both.means(), torch.cat([short.means(), long.means()]))
    assert equal(long.padded(2), long), "no token is cut off"


def test_the_mean_of_token_states_is_of_those_attended():
    cond = TokenStates(torch.tensor([[[1.0], [3.0], [99.0]]]), torch.tensor([[True, True, False]]))
    assert cond.means().tolist() == [[2.0]]
    fewer = TokenStates(cond.states.repeat(2, 1, 1), torch.tensor([[False, True, False], [False] * 3]))
    assert fewer.means().tolist() == [[3.0], [0.0]]
    broken = TokenStates(torch.tensor([[[1.0], [3.0], [float("nan")]]]), cond.mask)
    assert broken.means().tolist() == [[2.0]]
    assert broken.cleared().states.tolist() == [[[1.0], [3.0], [0.0]]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Parts({}), "expected one part or more, got none"),
        (lambda: Parts({"a.b": torch.zeros(2)}), "'a.b' cannot name a part"),
        (lambda: Parts({"": torch.zeros(2)}), "'' cannot name a part"),
        (lambda: Parts({"a": [1, 2]}), r"expected a tensor \[B, …\] or TokenStates as part 'a', got list"),
        (lambda: Parts({"a": torch.zeros(())}), "as part 'a', got a single number"),
        (
            lambda: Parts({"a": torch.zeros(2), "b": torch.zeros(3)}),
            "expected parts with the same number of rows, got 2 of 'a', 3 of 'b'",
        ),
        (lambda: TokenStates(torch.zeros(2, 3, 4), [[True]]), "expected two tensors, .* got Tensor and list"),
        (lambda: TokenStates([0.0], torch.ones(2, 3)), "expected two tensors, .* got list and Tensor"),
        (
            lambda: TokenStates(torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool)),
            r"expected floating-point states \[B, T, F\], got torch.float32 \[2, 3\]",
        ),
        (
            lambda: TokenStates(torch.zeros(2, 3, 4), torch.ones(2, 3)),
            r"expected a mask bool \[2, 3\] .*, got torch.float32 \[2, 3\]",
        ),
        (
            lambda: TokenStates(torch.zeros(2, 3, 4), torch.ones(2, 4, dtype=torch.bool)),
            r"expected a mask bool \[2, 3\] .*, got torch.bool \[2, 4\]",
        ),
        (lambda: joined([torch.zeros(2), tokens()]), "expected one kind"),
        (lambda: joined([torch.zeros(2), None]), "expected one kind"),
        (
            lambda: joined([Parts({"a": torch.zeros(2)}), Parts({"b": torch.zeros(2)})]),
            "expected the same parts, got a; b",
        ),
        (
            lambda: value_of_tensors({"cond": torch.zeros(2), "cond.a": torch.zeros(2)}),
            "expected either cond or parts of it, got both cond and cond.a",
        ),
        (
            lambda: value_of_tensors({"cond.a.mask": torch.ones(2, 3)}),
            "expected token states cond.a for the mask cond.a.mask",
        ),
    ],
)
def test_what_cannot_be_a_condition_is_refused_in_one_line(make, message):
    with pytest.raises(InputError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [name for name in EACH if name != "sketch"])
def test_the_null_condition_of_parts_is_that_of_each(name):
    given = {key: part for key, part in values().items() if key != "sketch"}
    cond = Parts(given) if name == "parts" else given[name]
    null = Condition.of(cond).null(cond)
    assert len(null) == COUNT
    if name == "style":
        assert (null == Condition.of(cond).size).all()
    elif name == "caption":
        assert not null.any()
    elif name == "words":
        assert not null.states.any()
        assert null.mask.tolist() == [[True, False, False, False]] * COUNT
    else:
        for key, part in given.items():
            assert equal(null[key], Condition.of(part).null(part))
