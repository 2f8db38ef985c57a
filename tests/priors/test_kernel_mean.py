"""The kernel mean: of labels a table, of embeddings an average of neighbours, chosen by leaving out."""

from __future__ import annotations

import pytest
import torch

from flowprior.errors import InputError, OptionError
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
        ({"sigma": -1.0}, "expected sigma > 0, 'scalar' or 'diagonal', got -1.0"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        Prior.create("kernel-mean", **options)


def test_data_without_a_condition_are_refused():
    with pytest.raises(InputError, match=r"kernel-mean\.fit: expected labels or embeddings, got None"):
        Prior.create("kernel-mean").fit(torch.zeros(5, 3))
