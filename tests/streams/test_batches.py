"""What fit accepts as data, and what it refuses at the boundary, in one line each."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset

from flowprior.data import TensorData
from flowprior.errors import InputError
from flowprior.priors import Prior
from flowprior.streams.batches import CheckedBatches

X = torch.arange(24.0).view(6, 2, 2)
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])
GOOD = (X, LABELS)


class Shards(IterableDataset):
    """A streamed data set: batches come from a fresh iterator every time."""

    def __iter__(self):
        yield from zip(X.split(4), LABELS.split(4), strict=True)


def everything(data) -> tuple[Tensor, Tensor | None]:
    """All rows and conditions that the stream gives."""
    batches = list(CheckedBatches(data, "gmm"))
    assert all(x.dim() == 2 for x, _ in batches)
    conditions = [c for _, c in batches if c is not None]
    return torch.cat([x for x, _ in batches]), torch.cat(conditions) if conditions else None


@pytest.mark.parametrize(
    "data",
    [
        (X, LABELS),
        [X, LABELS],
        [(X[:4], LABELS[:4]), (X[4:], LABELS[4:])],
        [[X[:4], LABELS[:4]], [X[4:], LABELS[4:]]],
        [(X[:0], LABELS[:0]), (X, LABELS), (X[:0], LABELS[:0])],
        DataLoader(TensorDataset(X, LABELS), batch_size=4),
        Shards(),
        DataLoader(Shards(), batch_size=None),
        (X, LABELS.to(torch.uint8)),
        (X, LABELS.to(torch.int16)),
        (X, LABELS[:, None]),
        (X.numpy(), LABELS.numpy()),
        [X.numpy(), LABELS.numpy()[:, None].astype(np.uint16)],
        [(X.numpy()[:4], LABELS[:4]), (X[4:], LABELS.numpy()[4:])],
        TensorData(X, LABELS),
        TensorDataset(X, LABELS),
        Subset(TensorDataset(X, LABELS), range(6)),
        (X.clone().requires_grad_(), LABELS),
    ],
    ids=lambda data: type(data).__name__,
)
def test_labelled_data_comes_in_many_forms(data):
    x, labels = everything(data)
    assert torch.equal(x, X.flatten(1))
    assert not x.requires_grad
    assert labels is not None
    assert labels.dtype == torch.long
    assert torch.equal(labels, LABELS)


@pytest.mark.parametrize(
    "data",
    [
        X,
        X.numpy(),
        TensorData(X),
        TensorDataset(X),
        (X, None),
        [X, None],
        [X[:3], X[3:]],
        [(X[:3], None), (X[3:], None)],
        DataLoader(TensorDataset(X), batch_size=4),
    ],
    ids=lambda data: type(data).__name__,
)
def test_data_without_a_condition_too(data):
    x, labels = everything(data)
    assert torch.equal(x, X.flatten(1))
    assert labels is None


def test_a_pair_is_cut_into_bounded_batches():
    x = torch.zeros(2 * CheckedBatches.chunk + 5, 1)
    assert [len(batch) for batch, _ in CheckedBatches(x, "gmm")] == [CheckedBatches.chunk] * 2 + [5]


def test_peek_keeps_the_shape_of_an_event_and_the_stream_starts_anew():
    stream = CheckedBatches(GOOD, "gmm")
    assert stream.peek()[0].shape == (6, 2, 2)
    assert len(list(stream)) == len(list(stream)) == 1


NAN = X.clone()
NAN[2, 0, 1] = torch.nan
NAN[4, 1, 1] = torch.inf
LATE_NAN = [(X, LABELS), (NAN, LABELS)]

BAD = {
    "nothing": ([], "expected at least one example, got an empty data set"),
    "no rows": ((X[:0], LABELS[:0]), "expected at least one example"),
    "none": (None, "expected a tensor, a pair .* got NoneType"),
    "number": (3, "expected a tensor, a pair .* got int"),
    "generator": ((batch for batch in [GOOD]), "got a one-shot iterator; pass a DataLoader"),
    "iterator": (iter([GOOD]), "got a one-shot iterator"),
    "name": ("digits", r"expected batches \(x1, c\) of tensors, or x1 alone, got str"),
    "text": (np.array([["a", "b"]]), "expected numbers in x1, got dtype <U1"),
    "sparse": (X[:, 0].to_sparse(), "expected a dense tensor as x1, got a sparse,"),
    "text labels": ((X, np.array(list("abcabc"))), "expected numbers in condition, got dtype <U1"),
    "labels in floating point": (
        (X, LABELS.float()),
        r"whole numbers as torch.float32 \[6\]; pass labels as",
    ),
    "negative labels": ([GOOD, (X, LABELS - 1)], "cond has label -1, expected labels >= 0"),
    "labels beyond the memory": ((X, LABELS + 10**12), "too high .*; number the labels 0, 1, 2"),
    "labels of a million": ((X, LABELS + 10**6), "cond has label 1000002, too high"),
    "triple": ([(X, LABELS, LABELS)], "expected batches .* got tuple of Tensor, Tensor, Tensor"),
    "dictionary": ([{"x": X}], "expected batches .* got dict"),
    "bytes": (X.to(torch.uint8), r"in float32 or float64, got torch.uint8 of shape \[6, 2, 2\]"),
    "half": (X.half(), "got torch.float16"),
    "one dimension": (
        X.flatten(),
        r"expected x1 of shape \[B, \*event\] .* got torch.float32 of shape \[24\]",
    ),
    "no dimension": (torch.tensor(1.0), r"of shape \[\]"),
    "nan": ((NAN, LABELS), "got NaN or infinity in 2 of 6 rows of a batch; clean or drop those rows"),
    "nan later": (LATE_NAN, "got NaN or infinity in 2 of 6 rows"),
    "shape changes": ([GOOD, (X[:, :1], LABELS)], r"the event changes .* \[2, 2\] to torch.float32 \[1, 2\]"),
    "dtype changes": ([GOOD, (X.double(), LABELS)], r"from torch.float32 \[2, 2\] to torch.float64 \[2, 2\]"),
    "labels end": ([GOOD, (X, None)], "expected one condition for each of 6 rows, got None"),
    "labels begin": ([(X, None), GOOD], r"one condition for each of 6 rows, got torch.int64 \[6\]"),
    "labels short": ([(X, LABELS[:5])], r"each row of x1 \[6, 2, 2\], got torch.int64 \[5\]"),
    "pair short": ((X, LABELS[:5]), r"each row of x1 \[6, 2, 2\], got torch.int64 \[5\]"),
    "scalar label": ((X, torch.tensor(1)), r"got torch.int64 \[\]"),
    "kind changes": ([GOOD, (X, torch.zeros(6, 2))], r"condition changes .* \[6\] to torch.float32 \[6, 2\]"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_data_is_refused_in_one_line_that_says_what_came(case):
    data, message = BAD[case]
    with pytest.raises(InputError, match=rf"^gmm\.fit: .*{message}") as caught:
        list(CheckedBatches(data, "gmm"))
    assert "\n" not in str(caught.value)


LATER = (
    "negative labels",
    "nan later",
    "shape changes",
    "dtype changes",
    "kind changes",
    "labels end",
    "labels begin",
)


@pytest.mark.parametrize("case", sorted(BAD.keys() - LATER))
def test_even_a_prior_that_reads_no_data_refuses_a_bad_first_batch(case):
    with pytest.raises(InputError, match=r"^gaussian\.fit: "):
        Prior.create("gaussian").fit(BAD[case][0])


@pytest.mark.parametrize("spec", ["gmm", "gaussian:moments=diagonal"])
def test_a_failed_fit_leaves_the_prior_as_it_was(spec):
    prior = Prior.registry.resolve(spec).fit(GOOD)
    before = {name: value.clone() for name, value in prior.state_dict().items()}
    with pytest.raises(InputError):
        prior.fit(LATE_NAN)
    for name, value in prior.state_dict().items():
        assert torch.equal(value, before[name])


def test_arrays_keep_their_scale_and_layout_where_data_sets_are_converted():
    """A prior that is fitted for somebody else's loop has to sample where that loop's events lie."""
    x = torch.rand(8, 6, 6, 3)
    assert Prior.create("gaussian").fit(x).event_shape == (6, 6, 3)
    assert Prior.create("gaussian").fit(TensorDataset(x)).event_shape == (3, 6, 6)


@pytest.mark.parametrize("spec", ["gaussian", "gmm"])
def test_a_condition_of_no_dimension_is_refused(spec):
    prior = Prior.registry.resolve(spec).fit(GOOD)
    for call in (prior.sample, prior.mean, lambda cond: prior.log_prob(X, cond)):
        with pytest.raises(InputError, match="expected one condition for each"):
            call(torch.tensor(1))


def test_floating_point_labels_are_refused_when_sampling():
    prior = Prior.create("gaussian").fit((X, LABELS))
    with pytest.raises(InputError, match=r"pass cond.long\(\) for labels, cond\[:, None\] for an embedding"):
        prior.sample(LABELS.float())
    assert prior.sample(LABELS.float()[:, None]).shape == X.shape
