"""The examples that are looked at; explained variance and density of a prior; one that copies is found."""

from __future__ import annotations

import math

import pytest
import torch
from matplotlib.text import Text

from flowprior.errors import InputError, OptionError
from flowprior.inspection.examples import Examples
from flowprior.inspection.fitted_prior import fit_prior, half_share, prior_picture
from flowprior.priors import Prior
from flowprior.streams.data import TensorData
from flowprior.streams.user_tensors import tensor_data


def measured(spec: str) -> tuple[float, float]:
    """The explained variance and the log-density of classes N(0, I) and N(3, 4 I) in three dimensions."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(2000) % 2
    x = torch.randn(2000, 3, generator=generator) * (1 + labels[:, None]) + 3 * labels[:, None]
    examples = Examples.of(tensor_data(x, labels), limit=2000)
    _, found = fit_prior(spec, examples, 0)
    return found.explained_variance, found.log_density


def test_the_right_prior_explains_what_the_classes_explain_and_a_wrong_one_less():
    explained, density = measured("gmm")
    between, within = 9 / 4, (1 + 4) / 2
    assert explained == pytest.approx(between / (between + within), abs=0.05)
    entropy = 0.5 * math.log(2 * math.pi * math.e) + 0.5 * math.log(2)
    assert density == pytest.approx(-entropy, abs=0.06)
    wrong_explained, wrong_density = measured("gaussian")
    assert wrong_explained < 0 < explained
    assert wrong_density < density


@pytest.mark.parametrize("labelled", [True, False])
def test_a_picture_shows_means_samples_and_held_out_images(labelled):
    x = torch.rand(60, 1, 6, 6, generator=torch.Generator().manual_seed(0)) * 2 - 1
    examples = Examples.of(tensor_data(x, torch.arange(60) % 3 if labelled else None), limit=60)
    prior = Prior.create("gmm" if labelled else "gaussian").fit((examples.x, examples.cond))
    figure = prior_picture(prior, examples, 0, names=["zero", "one", "two"], title="gmm on some data")
    words = {text.get_text() for text in figure.findobj(Text)}
    named = {"mean of\ndata", "mean of\nprior", "samples of prior", "held-out data", "gmm on some data"}
    assert named <= words
    assert ({"zero", "one", "two"} <= words) == labelled


def copying() -> Prior:
    """One component an example, with hardly any spread."""
    return Prior.create("gmm", components=200, reg_covar=1e-6, max_iter=1)


def test_a_gaussian_of_each_label_has_half_and_a_copying_prior_nearly_all(generator):
    labels = torch.arange(800) % 2
    x = torch.randn(800, 2, 4, generator=generator) + 3 * labels[:, None, None]
    for cond in (labels, None):
        share = half_share(lambda: Prior.create("gmm", covariance="full"), x, cond, generator=generator)
        assert share == pytest.approx(0.5, abs=0.08)
    assert half_share(copying, x, labels, generator=generator) > 0.9
    with pytest.raises(InputError, match="expected 4 rows or more, two of a label, got 2"):
        half_share(copying, x[:2], labels[:2])


# -- the examples that are looked at --------------------------------------------------------------


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
