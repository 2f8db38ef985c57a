"""Labels with one example, or with fewer than components: a warning, and a prior that can be used."""

from __future__ import annotations

import inspect
import warnings

import pytest
import torch
from torch import Tensor

from flowprior import Prior
from flowprior.priors.few_examples import EQUAL

DIM = 8


@pytest.fixture
def unequal() -> tuple[Tensor, Tensor]:
    """200 rows of label 0, one of label 1, three of label 2; unit spread about means 3 apart."""
    generator = torch.Generator().manual_seed(6)
    labels = torch.tensor([0] * 200 + [1] + [2] * 3)
    return torch.randn(204, DIM, generator=generator) + 3.0 * labels[:, None], labels


def fitted(spec: str, data: tuple[Tensor, Tensor]) -> Prior:
    return Prior.registry.resolve(spec).fit(data, generator=torch.Generator().manual_seed(0))


def test_one_example_gives_the_default_prior_a_spread(unequal):
    with pytest.warns(RuntimeWarning, match="latent-gmm.fit: label 1 has one example, which has no spread"):
        prior = fitted("latent-gmm:components=2,rank=4", unequal)
    one = torch.ones(500, dtype=torch.long)
    draws = prior.sample(one, generator=torch.Generator().manual_seed(1))
    assert draws.std(0).mean() > 0.6, "the square root of reg_covar, 0.2, makes copies"
    only = unequal[0][200:201]
    assert torch.isfinite(prior.log_prob(only, one[:1])).all()
    assert (draws.mean(0) - only[0]).norm() < (unequal[0].mean(0) - only[0]).norm()
    x, labels = unequal  # other labels do not change for it
    torch.testing.assert_close(prior.subspace.loc[0], x[labels == 0].mean(0), rtol=1e-5, atol=1e-5)


def test_more_components_than_examples_are_named(unequal):
    with pytest.warns(RuntimeWarning) as caught:
        prior = fitted("latent-gmm:components=40,rank=4", unequal)
    messages = [str(warning.message) for warning in caught]
    assert any(
        "latent-gmm.fit: label 2 has fewer examples than components=40, down to 36" in text
        for text in messages
    )
    used = prior.latents.logits.isfinite().sum(1)[:3].tolist()
    assert used[:2] == [40, 40], "label 1 has 1 example of its own and 100 of its prior's"
    assert used[2] <= 3 + round(EQUAL**2 / 3)
    assert caught[-1].filename == inspect.getfile(type(prior.latents)), "the fit whose examples are few"


def test_a_mixture_of_copies_says_so(unequal):
    with pytest.warns(RuntimeWarning, match="gmm.fit: label 1 has one example, .* set shrinkage > 0"):
        fitted("gmm", unequal)


@pytest.mark.parametrize(
    ("singles", "words"),
    [
        (1, "label 0"),
        (2, "each of labels 0, 1"),
        (5, ".*, 3, 4"),
        (6, ".*, 4 and 1 more"),
        (9, ".*, 4 and 4 more"),
    ],
)
def test_up_to_five_labels_are_named(singles, words, generator):
    labels = torch.arange(singles + 20).clamp_max(singles)
    with pytest.warns(RuntimeWarning, match=f"^gmm.fit: {words} has one example"):
        fitted("gmm", (torch.randn(len(labels), 2, generator=generator), labels))


@pytest.mark.parametrize("spec", ["gmm", "latent-gmm:components=2,rank=4", "gmm:components=2,shrinkage=1"])
def test_enough_examples_give_no_warning(spec, unequal):
    x, labels = unequal
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        fitted(spec, (x[labels == 0], torch.arange(200) % 2))
