"""Pairs of labels with few examples: some are the prior's own, and what is said of them is so."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from flowprior import Coupling, Prior
from flowprior.priors import subspace_prior
from flowprior.priors.few_examples import EQUAL, shares_given

DIM, RANK, FEW = 8, 2, 6


def data_of(counts: list[int]) -> tuple[Tensor, Tensor]:
    """Rows of labels 0 and 1 that mostly vary in two directions."""
    generator = torch.Generator().manual_seed(2)
    labels = torch.arange(2).repeat_interleave(torch.tensor(counts))
    directions = torch.randn(2, RANK, DIM, generator=generator)
    along = torch.randn(len(labels), 1, RANK, generator=generator) @ directions[labels]
    return along[:, 0] + 0.2 * torch.randn(len(labels), DIM, generator=generator) + 2.0 * labels[
        :, None
    ], labels


def fitted(counts: list[int], basis: str = "own") -> tuple[Prior, Tensor, Tensor]:
    x, labels = data_of(counts)
    prior = Prior.registry.resolve(f"latent-gmm:rank={RANK},reg_covar=0.01,basis={basis}")
    return prior.fit((x, labels), generator=torch.Generator().manual_seed(0)), x, labels


def pairs(prior: Prior, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return Coupling.create("posterior").pairs(prior, x, labels, generator=generator)


@pytest.mark.parametrize("basis", ["own", "shared"])
def test_only_pairs_of_labels_with_few_examples_are_the_priors_own(basis):
    prior, x, _ = fitted([200, FEW], basis)
    rows = torch.arange(200).repeat(10)
    many = torch.zeros(len(rows), dtype=torch.long)
    x0, x1 = pairs(prior, x[rows], many)
    assert torch.equal(x1, x[rows])
    few = 200 + torch.arange(4000) % FEW
    x0, x1 = pairs(prior, x[few], torch.ones(4000, dtype=torch.long))
    replaced = (x1 != x[few]).any(1)
    share = float(shares_given(torch.tensor([float(FEW)]), RANK))
    assert float(replaced.float().mean()) == pytest.approx(share, abs=0.03)
    frame = prior.spread(torch.ones(int(replaced.sum()), dtype=torch.long), int(replaced.sum()))
    torch.testing.assert_close(
        frame.coordinates(x0[replaced]), frame.coordinates(x1[replaced]), rtol=1e-3, atol=1e-3
    )


def test_with_many_examples_nothing_is_drawn_for_it():
    prior, x, labels = fitted([200, 200])
    coupling = Coupling.create("posterior")
    one, two = (torch.Generator().manual_seed(5) for _ in range(2))
    x0, x1 = coupling.pairs(prior, x, labels, generator=one)
    assert x1 is x
    assert torch.equal(x0, coupling.draw(prior, x, labels, generator=two))
    assert torch.equal(one.get_state(), two.get_state())
    assert not prior.given.any()


def test_source_samples_follow_data_by_the_slope_that_is_said():
    """Where axes are weak beside the noise, so that the slope of pairs that are not given is far from 1."""
    generator = torch.Generator().manual_seed(2)
    labels = torch.arange(2).repeat_interleave(torch.tensor([400, 15]))
    x = torch.randn(415, DIM, generator=generator) * torch.tensor([1.5] * RANK + [1.0] * (DIM - RANK))
    prior = Prior.create("latent-gmm", rank=RANK, reg_covar=0.01)
    prior.fit((x, labels), generator=torch.Generator().manual_seed(0))
    rows = 400 + torch.arange(90_000) % 15
    ones = torch.ones(len(rows), dtype=torch.long)
    x0, x1 = pairs(prior, x[rows], ones)
    frame, law = prior.spread(ones, len(ones)), Coupling.create("posterior").law(prior, ones)
    h0, h1 = frame.coordinates(x0), frame.coordinates(x1)
    found = (h0 * h1).mean(0) / h1.square().mean(0)
    assert (found - law.inside.joint[0]).abs().max() < 0.1
    assert (found - (1 - 1 / frame.spread[0])).abs().min() > 0.1


def three_beside_many() -> tuple[Tensor, Tensor]:
    """400 rows of label 0 and three of label 1, which say nothing of most of their eight directions."""
    generator = torch.Generator().manual_seed(2)
    labels = torch.arange(2).repeat_interleave(torch.tensor([400, 3]))
    x = torch.randn(403, 8, generator=generator) @ torch.randn(8, 16, generator=generator)
    return x + 0.2 * torch.randn(403, 16, generator=generator), labels


def test_draws_of_few_examples_are_no_copies():
    prior = Prior.create("latent-gmm", rank=8, reg_covar=0.01)
    prior.fit(three_beside_many(), generator=torch.Generator().manual_seed(0))
    asked = torch.ones(2000, dtype=torch.long)
    draws = prior.sample(asked, generator=torch.Generator().manual_seed(1))
    assert prior.spread(asked, 2000).coordinates(draws).var(0).min() > 0.43, "0.38 without what is given"


@pytest.mark.parametrize(("numbers", "given"), [(1 << 20, round(EQUAL**2 / FEW)), (2 * 5 * RANK, 5), (0, 1)])
def test_what_a_distribution_of_latents_is_given_is_limited(numbers, given, monkeypatch):
    """Latents of each label as far as memory allows, one at the least, and none of many examples."""
    prior, _, _ = fitted([200, FEW])
    monkeypatch.setattr(subspace_prior, "KEPT_BYTES", 4 * numbers)
    ((h, labels),) = prior._given_latents(0)
    assert h.shape == (given, RANK)
    assert torch.equal(labels, torch.ones(given, dtype=torch.long))


def test_a_file_from_before_smoothing_loads_and_smooths_nothing():
    prior, x, labels = fitted([200, FEW])
    state: dict[str, Any] = dict(prior.state_dict())
    del state["given"]
    older = Prior.registry.resolve(f"latent-gmm:rank={RANK},reg_covar=0.01")
    older.load_state_dict(state)
    assert not older.given.any()
    assert pairs(older, x, labels)[1] is x
    again = Prior.registry.resolve(f"latent-gmm:rank={RANK},reg_covar=0.01")
    again.load_state_dict(prior.state_dict())
    assert all(
        torch.equal(a, b) for a, b in zip(pairs(again, x, labels), pairs(prior, x, labels), strict=True)
    )
