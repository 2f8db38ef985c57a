"""The kernel mean: of labels a table, of embeddings an average of neighbours; and without one data sample."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowprior import train
from flowprior.couplings import Coupling
from flowprior.data import TensorData
from flowprior.errors import CouplingError, InputError, OptionError
from flowprior.priors import Prior, nearest
from flowprior.priors.kernel_mean import KernelMeanPrior
from tests.priors.captions import NOISE, as_near, captions, mean_of


def fitted(x, cond, **options) -> KernelMeanPrior:
    return as_near(Prior.create("kernel-mean", **options).fit((x, cond)))


def test_of_labels_it_is_the_table_of_means(generator):
    labels = torch.randint(4, (300,), generator=generator) * 2
    x = 3.0 * labels[:, None] + NOISE * torch.randn(300, 6, generator=generator)
    prior = fitted(x, labels, sigma="diagonal")
    table = torch.stack([x[labels == label].mean(0) for label in (0, 2, 4, 6)])
    torch.testing.assert_close(prior.mean(torch.tensor([0, 2, 4, 6])), table)
    torch.testing.assert_close(prior.residuals.noise.sqrt(), NOISE, rtol=0.15, atol=0.0)
    with pytest.raises(InputError, match="cond has label 3, which had no example"):
        prior.mean(torch.tensor([3]))


def test_it_is_the_average_of_nadaraya_and_watson():
    x, cond = captions(60, 1)
    asked = captions(7, 2, each=1)[1]
    prior = fitted(x, cond, neighbours=300, bandwidth=0.4)
    weight = (-0.5 * (asked[:, None] - cond).square().sum(2) / 0.4**2).softmax(1)
    torch.testing.assert_close(prior.mean(asked), weight @ x, rtol=1e-4, atol=1e-4)


def test_what_is_chosen_is_nearly_the_best_on_captions_it_has_not_seen():
    x, cond = captions(250, 1)
    unseen = captions(300, 2, each=1)[1]

    def error(**options) -> float:
        found = fitted(x, cond, **options).mean(unseen)
        return float((found - mean_of(unseen)).square().mean())

    given = [error(neighbours=k, bandwidth=h) for k in (1, 8, 64) for h in (0.1, 0.4, 1.6)]
    assert error() < 1.25 * min(given)
    assert error() < 0.6 * max(given)


def test_the_spread_is_that_of_rows_left_out_of_their_own_caption():
    x, cond = captions(250, 1)
    prior = fitted(x, cond, sigma="diagonal", neighbours=1)
    expected = NOISE * (1 + 1 / 4) ** 0.5
    torch.testing.assert_close(prior.residuals.noise.sqrt(), expected, rtol=0.1, atol=0.0)
    assert fitted(x, cond, sigma=0.7).residuals.noise.sqrt().unique().tolist() == pytest.approx([0.7])


def test_blocks_of_any_size_give_the_same_mean(monkeypatch):
    x, cond = (table.double() for table in captions(60, 1))
    whole = fitted(x, cond).mean(cond)
    monkeypatch.setattr(nearest, "CHUNK", 500)
    torch.testing.assert_close(fitted(x, cond).mean(cond), whole)


def test_numbers_of_double_precision_travel_with_the_state():
    """Also single ones, such as the bandwidth, which are of float32 before a fit."""
    x, cond = (table.double() for table in captions(60, 1))
    prior, other = Prior.create("kernel-mean").fit((x, cond)), Prior.create("kernel-mean")
    other.load_state_dict(prior.state_dict())
    assert torch.equal(other.mean(cond), prior.mean(cond))
    assert torch.equal(other.log_prob(x, cond), prior.log_prob(x, cond))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"neighbours": 0}, "neighbours=0 is not possible"),
        ({"neighbours": "all"}, "neighbours='all' is not possible"),
        ({"bandwidth": 0.0}, "expected bandwidth > 0 or 'auto', got 0.0"),
        ({"sigma": -1.0}, "expected sigma 1e-06 or more, 'scalar', .* got -1.0"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        Prior.create("kernel-mean", **options)


def test_data_without_a_condition_are_refused():
    with pytest.raises(InputError, match=r"kernel-mean\.fit: expected labels or embeddings, got None"):
        Prior.create("kernel-mean").fit(torch.zeros(5, 3))


# -- without one data sample ----------------------------------------------------------------------


EXACT = {"neighbours": 4, "bandwidth": 0.6, "sigma": 1e-6}


def fitted_exact(x: Tensor, cond: Tensor, **options: float) -> Prior:
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
    prior = fitted_exact(x, cond)
    found = prior.sample_without(x, cond)
    for row in range(0, len(x), 5):
        expected = fitted_exact(*without(row, x, cond)).mean(cond[row : row + 1])[0]
        torch.testing.assert_close(found[row], expected, rtol=1e-4, atol=1e-4)


def test_of_labels_it_is_the_fit_to_the_others(generator):
    labels = torch.tensor([0] * 10 + [1] * 2 + [2] * 5 + [3])
    x = torch.randn(18, 6, generator=generator)
    found = fitted_exact(x, labels).sample_without(x, labels)
    torch.testing.assert_close(found[17], x.mean(0), rtol=1e-4, atol=1e-4)  # of a single one
    for row in range(17):
        expected = fitted_exact(*without(row, x, labels)).mean(labels[row : row + 1])[0]
        torch.testing.assert_close(found[row], expected, rtol=1e-4, atol=1e-4)


def test_fewer_conditions_than_neighbours_and_a_caption_of_one_event(generator):
    cond = torch.eye(3)[[0, 0, 1, 2, 2]]
    x = torch.randn(5, 4, generator=generator)
    options = {"neighbours": 8, "bandwidth": 5.0}
    found = fitted_exact(x, cond, **options).sample_without(x, cond)
    expected = fitted_exact(*without(2, x, cond), **options).mean(cond[2:3])[0]
    torch.testing.assert_close(found[2], expected, rtol=1e-4, atol=1e-4)


def test_embeddings_that_lie_otherwise_in_memory_are_the_same():
    x, cond = uneven()
    prior = fitted_exact(x, cond)
    expected = prior.sample_without(x, cond)
    columns = cond.T.contiguous().T
    zeros = torch.where(cond == 0, -0.0, cond)
    for same in (columns, zeros):
        torch.testing.assert_close(prior.sample_without(x, same), expected, rtol=1e-4, atol=1e-4)


def test_a_caption_that_it_does_not_know_is_drawn_as_usual():
    x, cond = uneven()
    unknown = cond.unique(dim=0)[:5]
    known = ~(cond[:, None] == unknown).all(2).any(1)
    prior = fitted_exact(x[known], cond[known])
    found = prior.sample_without(torch.randn(5, 6), unknown)
    torch.testing.assert_close(found, prior.mean(unknown), rtol=1e-4, atol=1e-4)


def test_the_null_condition_is_drawn_from_all_data():
    x, cond = uneven()
    prior = fitted_exact(x, cond)
    null = torch.zeros(200, cond.shape[1])
    drawn = prior.sample_without(x[:1].expand(200, -1), null, generator=torch.Generator().manual_seed(0))
    means = prior.mean(cond.unique(dim=0))
    assert torch.cdist(drawn.double(), means.double()).amin(1).max() < 1e-3
    assert len(drawn.round(decimals=2).unique(dim=0)) > 10


def test_what_cannot_be_left_out_is_refused():
    x, cond = uneven()
    prior = fitted_exact(x, cond)
    one = torch.zeros(1, dtype=torch.long)
    single = fitted_exact(x[:1], one)
    for asked, rows, labels, message in (
        (single, x[:1], one, "two data or more"),
        (prior, x.log(), cond, "expected finite x,"),
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
