"""A source that moves: by how much, and what of it the velocity knows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from benchmarks.studies import digits, everything, moved_source
from flowprior import Prior
from flowprior.conditions import Condition
from flowprior.couplings import Coupling
from flowprior.flow import Flow
from flowprior.paths import Path

LABEL = torch.zeros(4000, dtype=torch.long)


class Still(nn.Module):
    """No velocity of its own."""

    inputs = 3

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        return torch.zeros_like(x[:, :1])


@pytest.fixture(scope="module")
def prior() -> Prior:
    generator = torch.Generator().manual_seed(0)
    prior = Prior.create("latent-gmm", rank=8, components=1)
    return prior.fit(digits.split("train").batches(), generator=generator)


def test_the_moved_prior_has_the_moments_that_are_said(prior):
    moved = moved_source.moved_prior(prior, 2.0, 0.5)
    generator = torch.Generator().manual_seed(0)
    labels = LABEL.repeat(20)
    one, two = (own.sample(labels, generator=generator).flatten(1) for own in (prior, moved))
    torch.testing.assert_close(two.mean(0), one.mean(0) + 0.5, atol=0.05, rtol=0)
    torch.testing.assert_close(two.var(0).mean(), 4 * one.var(0).mean(), rtol=0.05, atol=0)
    shifted = moved_source.moved_prior(prior, 1.0, 0.5)
    torch.testing.assert_close(shifted.mean(LABEL[:1]), prior.mean(LABEL[:1]) + 0.5)


def test_the_velocity_of_the_default_follows_a_moved_prior_alone(prior):
    """A residual of 0: the linear velocity carries the moved prior to moved data."""
    coupling, path, condition = Coupling.create("posterior"), Path.create("condot"), Condition("labels", 10)
    flow = Flow(Still(), prior, coupling, path, condition, prediction="preconditioned")
    moved = moved_source.with_prior(flow, moved_source.moved_prior(prior, 1.0, 0.5))
    x, t, cond = everything(digits.split("test"))[0][:50], torch.full((50,), 0.5), LABEL[:50]
    torch.testing.assert_close(
        moved.velocity(x + 0.5, t, cond), flow.velocity(x, t, cond), atol=1e-4, rtol=1e-4
    )
    assert not torch.allclose(flow.velocity(x + 0.5, t, cond), flow.velocity(x, t, cond), atol=1e-2)
