"""The split: disjoint, divided within labels, bounded, clear where it is impossible."""

from __future__ import annotations

import pytest
import torch

from flowprior.errors import InputError, OptionError
from flowprior.inspection.examples import Examples
from flowprior.streams.data import TensorData
from flowprior.streams.user_tensors import tensor_data


def numbered(counts: list[int]) -> TensorData:
    """Events that say their own number, with ``counts`` examples of each label."""
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return tensor_data(torch.arange(float(len(labels)))[:, None], labels)


def test_the_parts_are_disjoint_and_cover_all():
    chosen = Examples.of(numbered([50, 100]), limit=1000)
    together = torch.cat([chosen.x, chosen.held_out]).flatten().sort().values
    assert torch.equal(together, torch.arange(150.0))
    assert torch.bincount(chosen.held_out_labels).tolist() == [10, 20]
    assert chosen.counts.tolist() == [50, 100]


def test_a_limit_keeps_the_labels_shares_and_small_labels_are_fitted_on_alone():
    chosen = Examples.of(numbered([200, 800]), limit=100)
    assert torch.bincount(torch.cat([chosen.labels, chosen.held_out_labels])).tolist() == [20, 80]
    chosen = Examples.of(numbered([30, 2]), limit=1000)
    assert (chosen.labels == 1).sum() == 2
    assert [label for label, *_ in chosen.groups()] == [0]


def test_rows_without_labels_are_one_group():
    chosen = Examples.of(tensor_data(torch.randn(50, 2)), limit=1000)
    ((label, fit, held_out),) = chosen.groups()
    assert (label, len(fit), len(held_out)) == (-1, 40, 10)
    assert chosen.counts is None


@pytest.mark.parametrize(
    ("counts", "limit", "message"),
    [
        ([50], 5, "examples=5 is not possible; choose 10 or more"),
        ([4], 100, "has 4 examples; expected 10 or more"),
        ([2] * 20, 100, "no label of 'tensors' has 3 examples"),
    ],
)
def test_what_cannot_be_split_is_refused(counts, limit, message):
    with pytest.raises((InputError, OptionError), match=message):
        Examples.of(numbered(counts), limit=limit)


def test_events_that_are_nearly_alike_are_held_out_together_or_not_at_all() -> None:
    data = TensorData(torch.arange(200.0)[:, None])
    data.groups = torch.arange(200) // 20
    examples = Examples.of(data, limit=200)
    kept, held = ({int(value) // 20 for value in part[:, 0]} for part in (examples.x, examples.held_out))
    assert (len(kept), len(held)) == (8, 2)
    assert not kept & held
