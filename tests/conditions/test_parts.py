"""A condition, single or of parts, is checked once, and written into flow.json; the errors' family."""

from __future__ import annotations

import json

import pytest
import torch

from flowprior import errors
from flowprior.conditions import Condition, Parts, TokenStates
from flowprior.conditions.rows import embeddings_in, equal, label_groups, labels_in, read_part
from flowprior.errors import InputError
from tests.conditions.test_values import tokens

LABELS = Condition("labels", 3)
EMBEDDINGS = Condition("embeddings", 2)
TOKENS = Condition("tokens", 3)
BOTH = Condition("parts", parts=(("style", LABELS), ("caption", EMBEDDINGS)))
ALL = Condition("parts", parts=(("words", TOKENS), *BOTH.parts))


def both(count: int = 4) -> dict[str, torch.Tensor]:
    return {"style": torch.arange(count) % 3, "caption": torch.ones(count, 2)}


def test_kind_and_size_are_read_off_each_part():
    assert Condition.of(Parts({**both(), "words": tokens(4)})) == ALL
    assert Condition.of(tokens()) == TOKENS
    assert ALL.names == ("caption", "style", "words")
    assert ALL["style"] == LABELS
    assert ALL.only(("style", "caption")) == BOTH
    assert hash(BOTH) == hash(Condition("parts", parts=BOTH.parts[::-1])), "the order given does not count"


@pytest.mark.parametrize("condition", [Condition(), LABELS, EMBEDDINGS, TOKENS, BOTH, ALL], ids=str)
def test_it_comes_back_from_json(condition):
    assert Condition.from_dict(json.loads(json.dumps(condition.as_dict()))) == condition


def test_conditions_without_parts_are_written_as_before():
    assert LABELS.as_dict() == {"kind": "labels", "size": 3}
    assert str(LABELS) == "Condition(kind='labels', size=3)", "digests of data begin with it"


@pytest.mark.parametrize(
    "values",
    [
        {},
        [],
        {"kind": "labels"},
        {"kind": "labels", "size": 3, "more": 1},
        {"kind": "labels", "size": "3"},
        {"kind": "labels", "size": 3, "parts": {}} | {"kind": "parts"},
        {"kind": "parts", "size": 0},
        {"kind": "parts", "size": 0, "parts": []},
        {"kind": "parts", "size": 0, "parts": {"a": {"kind": "none", "size": 0}}},
        {"kind": "parts", "size": 0, "parts": {"a": BOTH.as_dict()}},
        {"kind": "labels", "size": 3, "parts": {"a": {"kind": "labels", "size": 2}}},
        {"kind": "parts", "size": 0, "parts": {"../a": {"kind": "labels", "size": 2}}},
    ],
)
def test_other_json_is_refused(values):
    with pytest.raises(ValueError, match=r"\w") as caught:
        Condition.from_dict(values)
    assert "\n" not in str(caught.value)


def test_check_takes_a_dictionary_and_gives_parts():
    checked = BOTH.check(both(), "flow.sample")
    assert isinstance(checked, Parts)
    assert equal(checked, Parts(both()))
    assert BOTH.check(checked, "flow.sample").names == ("caption", "style")


def test_what_lies_in_the_padding_does_not_pass_the_door():
    given = tokens(4)
    broken = TokenStates(given.states.masked_fill(~given.mask[..., None], float("nan")), given.mask)
    for condition, cond in ((TOKENS, broken), (ALL, {**both(), "words": broken})):
        checked = condition.check(cond, "flow.sample")
        found = checked if condition is TOKENS else checked["words"]
        assert equal(found, given.cleared())


@pytest.mark.parametrize(
    ("condition", "cond", "message"),
    [
        (BOTH, None, r"expected parts caption: .*, style: .*, got None"),
        (
            BOTH,
            torch.zeros(4),
            r'expected parts .*, got torch.float32 \[4\]; pass {"caption": …, "style": …}',
        ),
        (BOTH, [1], "got list"),
        (BOTH, {"style": both()["style"]}, "expected the parts caption, style, got style, without 'caption'"),
        (BOTH, {**both(), "size": torch.zeros(4)}, "got caption, size, style, with 'size'"),
        (BOTH, {**both(), "style": torch.tensor([0, 1, 2, 3])}, "'style': cond has label 3"),
        (BOTH, {**both(), "caption": torch.ones(4, 3)}, r"'caption': expected .* \[B, 2\], got .* \[4, 3\]"),
        (BOTH, {**both(), "caption": tokens(4)}, "'caption': expected floating-point embeddings"),
        (TOKENS, None, r"expected token states \[B, T, 3\] with a mask, got None"),
        (TOKENS, torch.ones(4, 2, 3), r"got torch.float32 \[4, 2, 3\]; use TokenStates\(states, mask\)"),
        (TOKENS, tokens(size=2), r"expected token states \[B, T, 3\] .*, got token states .* \[6, 4, 2\]"),
        (
            TOKENS,
            TokenStates(torch.ones(2, 2, 3), torch.tensor([[True, False], [False, False]])),
            "expected an attended token in each row, row 1 has none",
        ),
    ],
)
def test_check_says_which_part_does_not_fit(condition, cond, message):
    with pytest.raises(InputError, match=f"^model.*{message}") as caught:
        condition.check(cond, "model")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "parts",
    [(("a", Condition()),), (("a", BOTH),), (("a", LABELS), ("a", EMBEDDINGS)), (("1a", LABELS),), ()],
)
def test_impossible_parts_are_refused(parts):
    with pytest.raises(InputError, match=r"^condition: "):
        Condition("parts", parts=parts)


# -- who reads what -----------------------------------------------------------------------------


def read(cond, reads: str = "", takes: tuple[str, ...] = ("labels",)):
    return read_part(cond, reads, takes, "gmm.fit", "gmm")


def test_the_only_part_that_fits_or_the_named_one_is_read():
    parts = Parts({**both(), "group": torch.arange(4)})
    assert read(parts, takes=("embeddings",)) is parts["caption"]
    assert read(parts, reads="group") is parts["group"]
    assert read(Parts(both())) is read(both()["style"]) or equal(read(Parts(both())), both()["style"])
    assert read(None) is None
    assert read(parts, takes=()) is None, "a prior that reads no condition"
    alone = Parts({"caption": torch.ones(4, 2)})
    assert read(alone) is alone["caption"], "whoever cannot take it says so"


@pytest.mark.parametrize(
    ("cond", "reads", "message"),
    [
        (
            Parts({**both(), "group": torch.arange(4)}),
            "",
            "several parts that it could read: group, style; choose one, as in gmm:reads=group",
        ),
        (Parts(both()), "size", "reads='size' names no part; there are caption, style"),
        (
            Parts({"a": torch.ones(4, 2), "b": torch.ones(4, 2)}),
            "",
            "expected labels among the parts, got a: ",
        ),
        (Parts({"words": tokens(4)}), "", "expected labels, got words: token states"),
        (tokens(4), "", "expected labels, got token states"),
    ],
)
def test_reading_says_which_names_to_choose_from(cond, reads, message):
    with pytest.raises(InputError, match=f"^gmm.fit: .*{message}") as caught:
        read(cond, reads)
    assert "\n" not in str(caught.value)


def test_labels_and_numbers_of_a_condition():
    labels, embeddings, words = both()["style"], both()["caption"], tokens(4)
    assert labels_in(labels) is labels
    assert labels_in(embeddings) is None
    assert equal(labels_in(Parts(both())), labels)
    assert labels_in(Parts({"a": labels, "b": labels})) is None
    assert label_groups(
        Parts({"a": torch.tensor([0, 0, 1, 0]), "b": torch.tensor([5, 6, 5, 5])})
    ).tolist() == [
        0,
        1,
        2,
        0,
    ]
    assert embeddings_in(labels) is None
    assert embeddings_in(embeddings) is embeddings
    assert equal(embeddings_in(words), words.means())
    assert equal(embeddings_in(Parts({**both(), "words": words})), embeddings)
    assert equal(embeddings_in(Parts({"style": labels, "words": words})), words.means())
    assert embeddings_in(Parts({"a": embeddings, "b": embeddings})).shape == (4, 4)


# -- a single part --------------------------------------------------------------------------------


def test_kind_and_size_are_read_off_the_data():
    assert Condition.of(None) == Condition("none", 0)
    assert Condition.of(torch.tensor([0, 4, 2])) == Condition("labels", 5)
    assert Condition.of(torch.tensor([1, 2], dtype=torch.int32)) == LABELS
    assert Condition.of(torch.zeros(7, 2)) == EMBEDDINGS
    assert Condition.of(torch.zeros(0, dtype=torch.long)) == Condition("labels", 0)


def test_null_condition_is_one_label_further_or_zeros_of_the_same_dtype():
    assert LABELS.null(torch.tensor([2, 0])).tolist() == [3, 3]
    null = EMBEDDINGS.null(torch.ones(4, 2, dtype=torch.float64))
    assert null.dtype == torch.float64
    assert not null.any()
    assert LABELS.null(None) is None
    assert Condition().null(torch.tensor([1])) is None


def test_check_returns_what_fits():
    for condition, cond in (
        (LABELS, torch.tensor([0, 2, 1])),
        (LABELS, torch.zeros(0, dtype=torch.long)),
        (EMBEDDINGS, torch.ones(5, 2)),
        (EMBEDDINGS, torch.ones(5, 2, dtype=torch.float64)),
    ):
        assert condition.check(cond, "model") is cond
    assert Condition().check(torch.tensor([1, 2]), "model") is None, "an unconditional one ignores it"


@pytest.mark.parametrize(
    ("condition", "cond", "message"),
    [
        (LABELS, None, r"expected int64 labels \[B\] in 0\.\.2, got None"),
        (LABELS, torch.tensor([0, 3]), r"cond has label 3, expected labels 0\.\.2"),
        (LABELS, torch.tensor([-1, 0]), r"cond has label -1, expected labels 0\.\.2"),
        (LABELS, torch.tensor([0.0, 1.0]), r"got torch.float32 \[2\]"),
        (LABELS, torch.tensor([0], dtype=torch.int32), r"got torch.int32 \[1\]"),
        (LABELS, torch.tensor([[0], [1]]), r"got torch.int64 \[2, 1\]"),
        (EMBEDDINGS, None, r"expected floating-point embeddings \[B, 2\], got None"),
        (EMBEDDINGS, torch.tensor([0, 1]), r"got torch.int64 \[2\]"),
        (EMBEDDINGS, torch.ones(2), r"got torch.float32 \[2\]"),
        (EMBEDDINGS, torch.ones(2, 3), r"got torch.float32 \[2, 3\]"),
        (LABELS, [2, 2], r"expected int64 labels .* got list; use torch\.tensor"),
    ],
)
def test_check_says_what_was_expected_of_a_single_part(condition, cond, message):
    with pytest.raises(InputError, match=f"^model: .*{message}") as caught:
        condition.check(cond, "model")
    assert "\n" not in str(caught.value)


def test_every_error_is_a_flowprior_error_and_a_value_error():
    classes = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, Exception)]
    assert len(classes) > 5
    for error in classes:
        assert issubclass(error, errors.FlowpriorError)
        assert issubclass(error, ValueError)
        assert error.__doc__
    assert issubclass(errors.NotFittedError, AttributeError), "as scikit-learn's"
