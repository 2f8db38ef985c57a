"""A prior without one datum is the prior that is fitted to the others."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowprior import train
from flowprior.couplings import Coupling
from flowprior.data import TensorData
from flowprior.errors import CouplingError, InputError, OptionError
from flowprior.priors import Prior
from tests.priors.captions import as_near, captions

EXACT = {"neighbours": 4, "bandwidth": 0.6, "sigma": 1e-6}


def fitted(x: Tensor, cond: Tensor, **options: float) -> Prior:
    return as_near(Prior.create("kernel-mean", **{**EXACT, **options}).fit((x, cond)))


def without(row: int, x: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
    kept = torch.arange(len(x)) != row
    return x[kept], cond[kept]


def uneven() -> tuple[Tensor, Tensor]:
    """Captions of four events each, of two, and of a single one."""
    x, cond = captions(60, 1)
    alone = torch.arange(len(x)) % 4
    group = cond.unique(dim=0, return_inverse=True)[1] % 3
    kept = (group == 0) | ((group == 1) & (alone < 2)) | ((group == 2) & (alone < 1))
    return x[kept], cond[kept]


def test_of_embeddings_it_is_the_fit_to_the_others():
    x, cond = uneven()
    prior = fitted(x, cond)
    found = prior.sample_without(x, cond)
    for row in range(0, len(x), 5):
        expected = fitted(*without(row, x, cond)).mean(cond[row : row + 1])[0]
        torch.testing.assert_close(found[row], expected, rtol=1e-4, atol=1e-4)


def test_of_labels_it_is_the_fit_to_the_others(generator):
    labels = torch.tensor([0] * 10 + [1] * 2 + [2] * 5 + [3])
    x = torch.randn(18, 6, generator=generator)
    found = fitted(x, labels).sample_without(x, labels)
    torch.testing.assert_close(found[17], x.mean(0), rtol=1e-4, atol=1e-4)  # of a single one
    for row in range(17):
        expected = fitted(*without(row, x, labels)).mean(labels[row : row + 1])[0]
        torch.testing.assert_close(found[row], expected, rtol=1e-4, atol=1e-4)


def test_fewer_conditions_than_neighbours_and_a_caption_of_one_event(generator):
    cond = torch.eye(3)[[0, 0, 1, 2, 2]]
    x = torch.randn(5, 4, generator=generator)
    options = {"neighbours": 8, "bandwidth": 5.0}
    found = fitted(x, cond, **options).sample_without(x, cond)
    expected = fitted(*without(2, x, cond), **options).mean(cond[2:3])[0]
    torch.testing.assert_close(found[2], expected, rtol=1e-4, atol=1e-4)


def test_embeddings_that_lie_otherwise_in_memory_are_the_same():
    x, cond = uneven()
    prior = fitted(x, cond)
    expected = prior.sample_without(x, cond)
    columns = cond.T.contiguous().T
    zeros = torch.where(cond == 0, -0.0, cond)
    for same in (columns, zeros):
        torch.testing.assert_close(prior.sample_without(x, same), expected, rtol=1e-4, atol=1e-4)


def test_a_caption_that_it_does_not_know_is_drawn_as_usual():
    x, cond = uneven()
    unknown = cond.unique(dim=0)[:5]
    known = ~(cond[:, None] == unknown).all(2).any(1)
    prior = fitted(x[known], cond[known])
    found = prior.sample_without(torch.randn(5, 6), unknown)
    torch.testing.assert_close(found, prior.mean(unknown), rtol=1e-4, atol=1e-4)


def test_the_null_condition_is_drawn_from_all_data():
    x, cond = uneven()
    prior = fitted(x, cond)
    null = torch.zeros(200, cond.shape[1])
    drawn = prior.sample_without(x[:1].expand(200, -1), null, generator=torch.Generator().manual_seed(0))
    means = prior.mean(cond.unique(dim=0))
    assert torch.cdist(drawn.double(), means.double()).amin(1).max() < 1e-3
    assert len(drawn.round(decimals=2).unique(dim=0)) > 10


def test_what_cannot_be_left_out_is_refused():
    x, cond = uneven()
    prior = fitted(x, cond)
    one = torch.zeros(1, dtype=torch.long)
    single = fitted(x[:1], one)
    for asked, rows, labels, message in (
        (single, x[:1], one, "two data or more"),
        (prior, x.log(), cond, "expected finite x1"),
        (prior, x[:, :2], cond, "expected floating-point x of shape"),
    ):
        with pytest.raises(InputError, match=message):
            asked.sample_without(rows, labels)
    other = Prior.create("gmm").fit((x, None))
    with pytest.raises(CouplingError, match="use the prior 'kernel-mean', or couple with 'condot'"):
        Coupling.create("leave-one-out").check(other)


def test_predictions_that_show_the_network_the_mean_are_refused():
    """The mean that they show has the datum in it."""
    x, cond = uneven()
    with pytest.raises(OptionError, match="with coupling 'leave-one-out'; use"):
        train((x, cond), prior="kernel-mean", coupling="leave-one-out", prediction="residual", steps=1)


def test_events_with_several_conditions_are_refused_before_anything_is_fitted():
    """Left out under one of them, an event would still be in the mean of another."""
    x, cond = uneven()
    data = TensorData(x, cond)
    data.condition_counts = torch.full((len(x),), 2)
    with pytest.raises(CouplingError, match="have several conditions each"):
        train(data, prior="kernel-mean", coupling="leave-one-out", steps=1)
