"""Priors of merged and of dropped labels are those of a fit to the same rows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowprior import Prior
from flowprior.errors import InputError, OptionError
from flowprior.priors import drop, merge

EXACT = ["diag", "spherical", "full", "tied"]


def rows(seed: int, counts: list[int], dim: int = 3) -> tuple[Tensor, Tensor]:
    """``counts[c]`` rows of label c, in random order."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    mix = torch.randn(len(counts), dim, dim, generator=torch.Generator().manual_seed(99)).double()
    z = torch.randn(len(labels), dim, generator=generator).double()
    return torch.einsum("bi,bij->bj", z, mix[labels]) + labels[:, None], labels


def fitted(*parts: tuple[Tensor, Tensor], **options) -> Prior:
    x, labels = zip(*parts, strict=True)
    return Prior.create("gmm", **{"keep_moments": True, **options}).fit((torch.cat(x), torch.cat(labels)))


def check_same(prior: Prior, other: Prior) -> None:
    assert prior.state_dict().keys() == other.state_dict().keys()
    for name, table in prior.state_dict().items():
        torch.testing.assert_close(table, other.state_dict()[name], rtol=1e-6, atol=1e-6, msg=name)


@pytest.mark.parametrize("shrinkage", [0.0, 3.0])
@pytest.mark.parametrize("covariance", EXACT)
def test_merged_priors_are_a_fit_to_the_data_of_both(covariance, shrinkage):
    options = {"covariance": covariance, "shrinkage": shrinkage}
    first, more = rows(0, [50, 60, 40]), rows(1, [0, 30, 0, 0, 25])
    one, other = fitted(first, **options), fitted(more, **options)
    check_same(merge(one, other), fitted(first, more, **options))
    check_same(one, fitted(first, **options))
    check_same(other, fitted(more, **options))


@pytest.mark.parametrize("shrinkage", [0.0, 3.0])
@pytest.mark.parametrize("covariance", EXACT)
def test_what_is_left_is_a_fit_without_the_dropped(covariance, shrinkage):
    options = {"covariance": covariance, "shrinkage": shrinkage, "conditions": 4}
    x, labels = rows(0, [50, 60, 40, 30])
    prior = fitted((x, labels), **options)
    left = drop(prior, [1, 3])
    kept = (labels == 0) | (labels == 2)
    check_same(left, fitted((x[kept], labels[kept]), **options))
    check_same(prior, fitted((x, labels), **options))
    assert left.sample_marginal(200, generator=torch.Generator().manual_seed(0)).shape == (200, 3)
    if not shrinkage:
        with pytest.raises(InputError, match="label 1"):
            left.sample(torch.tensor([1]))


def test_moments_are_in_the_files_of_a_prior(tmp_path):
    first, more = rows(0, [50, 60]), rows(1, [5, 5])
    fitted(first).save(tmp_path / "prior")
    check_same(merge(Prior.load(tmp_path / "prior"), fitted(more)), fitted(first, more))


def test_refusals_say_what_to_do():
    x, labels = rows(0, [50, 60])
    prior = fitted((x, labels))
    message = r"fitted to labels with keep_moments=true, got .*; fit it so"
    wrong = [
        Prior.create("gmm").fit((x, labels)),
        Prior.create("gmm", keep_moments=True),
        Prior.create("gmm", keep_moments=True).fit(x),
        Prior.create("gaussian").fit(x),
    ]
    for other in wrong:
        with pytest.raises(InputError, match=message):
            merge(prior, other)
        with pytest.raises(InputError, match=message):
            drop(other, [0])
    for other in (fitted(rows(0, [5, 5], dim=2)), fitted((x, labels), covariance="full")):
        with pytest.raises(InputError, match="expected two priors of the same options and events"):
            merge(prior, other)
    with pytest.raises(InputError, match="label 7 not among"):
        drop(prior, [0, 7])
    with pytest.raises(InputError, match="no label would be left"):
        drop(prior, torch.tensor([0, 1]))
    for options in ({"components": 2}, {"covariance": "lowrank"}):
        with pytest.raises(OptionError, match="for one component, and not for 'lowrank'"):
            Prior.create("gmm", keep_moments=True, **options)
