"""Kind, size, null value and checks of a condition; and the errors' family."""

from __future__ import annotations

import pytest
import torch

from flowprior import errors
from flowprior.conditions import Condition
from flowprior.errors import InputError

LABELS = Condition("labels", 3)
EMBEDDINGS = Condition("embeddings", 2)


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
def test_check_says_what_was_expected_and_what_came(condition, cond, message):
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
