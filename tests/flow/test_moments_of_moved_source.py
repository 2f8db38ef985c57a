"""The moments of the pairs of a source that was moved: those before, and what moving does to them."""

from __future__ import annotations

import copy
from functools import cache
from typing import cast

import pytest
import torch
from torch import Tensor

from flowprior import Coupling, Path
from flowprior.flow.pair_moments import PairMoments
from flowprior.flow.predictions import Preconditioned
from flowprior.priors import Prior, ShiftedPrior

LABELS = torch.arange(6_000) % 3
DESIGNS = [("latent-gmm", "posterior"), ("latent-gmm", "condot"), ("kernel-mean:sigma=diagonal", "condot")]


def data() -> Tensor:
    """Correlated points in four dimensions around a mean of each label."""
    generator = torch.Generator().manual_seed(0)
    means = 2 * torch.randn(3, 4, generator=generator)
    mix = torch.eye(4) + 0.3 * torch.randn(4, 4, generator=generator)
    return means[LABELS] + torch.randn(len(LABELS), 4, generator=generator) @ mix


@cache
def fitted(inner: str, scale: bool) -> ShiftedPrior:
    """Fitted once, and moved by weights of chance."""
    prior = cast("ShiftedPrior", Prior.create("shifted", prior=inner, scale=scale))
    prior.fit((data(), LABELS), generator=torch.Generator().manual_seed(0))
    assert prior.trained is not None
    with torch.no_grad():
        for weight in prior.trained.parameters():
            weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    return prior


def moved(inner: str, scale: bool) -> ShiftedPrior:
    """A copy of the caller's own."""
    return copy.deepcopy(fitted(inner, scale))


@pytest.mark.parametrize("path", ["condot", "cosine"])
@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize(("inner", "coupling"), DESIGNS)
@pytest.mark.parametrize("time", [0.6])
def test_they_are_those_of_the_pairs(inner: str, coupling: str, scale: bool, path: str, time: float) -> None:
    prior, pairing, joined = moved(inner, scale), Coupling.create(coupling), Path.create(path)
    x0 = pairing.draw(prior, data(), LABELS, generator=torch.Generator().manual_seed(2))
    t = torch.full((len(x0),), time)
    x_t, u_t, _ = joined.interpolate(x0, data(), t)
    moments = PairMoments.at(prior, pairing, joined, t, LABELS)
    standard, velocity, left = moments.standardised(x_t)
    for label in range(3):
        own = label == LABELS
        assert float(standard[own].mean(0).abs().max().detach()) < 0.1
        torch.testing.assert_close(standard[own].square().mean(0), torch.ones(4), rtol=0.3, atol=0)
        unsaid = (u_t - velocity)[own]
        assert float((unsaid.mean(0) / left[own][0]).abs().max().detach()) < 0.1
        torch.testing.assert_close(unsaid.square().mean(0), left[own][0].square(), rtol=0.35, atol=0.01)


def test_a_shift_is_taken_off_again() -> None:
    """What the network is to learn, and all that it is shown but x_t itself, do not know of it."""
    prior, coupling, path = moved("latent-gmm", False), Coupling.create("posterior"), Path.create("condot")
    x1, labels, t = data()[:200], LABELS[:200], torch.linspace(0.01, 0.99, 200)
    x0 = coupling.draw(prior.fixed, x1, labels, generator=torch.Generator().manual_seed(2))
    found = []
    for own, start in ((prior.fixed, x0), (prior, prior.moved(x0, labels))):
        predicted = Preconditioned(own, coupling, path)
        x_t, u_t, _ = path.interpolate(start, x1, t)
        view = predicted.view(x_t, t, labels)
        target = predicted.regression(torch.zeros_like(x_t), view, start, u_t)[1]
        found.append((view.inputs[:, 4:], view.scale, target))
    for before, after in zip(*found, strict=True):
        torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4)


def test_gradients_reach_what_is_trained_through_the_moments() -> None:
    """They cancel, but for a scale: through x_t alone they would not."""
    for scale, reaches in ((False, False), (True, True)):
        prior, coupling, path = (
            moved("latent-gmm", scale),
            Coupling.create("posterior"),
            Path.create("condot"),
        )
        x1, labels, t = data()[:60].double(), LABELS[:60], torch.full((60,), 0.4, dtype=torch.float64)
        x0 = coupling.rdraw(prior.double(), x1, labels, generator=torch.Generator().manual_seed(0))
        x_t, u_t, _ = path.interpolate(x0, x1, t)
        moments = PairMoments.at(prior, coupling, path, t, labels)
        (u_t - moments.velocity(x_t)).square().sum().backward()
        assert prior.trained is not None
        gradient = next(prior.trained.parameters()).grad
        assert gradient is not None
        assert (float(gradient.abs().max()) > 1e-3) == reaches
