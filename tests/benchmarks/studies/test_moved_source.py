"""A source that moves: by how much, and what of it the velocity knows."""

from __future__ import annotations

from types import SimpleNamespace

import pandas
import pytest
import torch
from torch import Tensor, nn

from benchmarks.studies import digits, everything, moved_source
from benchmarks.studies.moved_source import DISTANCE, MOVES, PRIOR, RECOGNISED, SOURCE
from benchmarks.studies.tables import select
from flowprior import Prior
from flowprior.conditions import Condition
from flowprior.couplings import Coupling
from flowprior.flow import Flow
from flowprior.paths import Path

UNMOVED = "shift 0"
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


@pytest.fixture(scope="module")
def rows(prior) -> pandas.DataFrame:
    """Of a flow that stays where it starts, whatever its velocity would read of the prior."""
    parts = prior, Coupling.create("condot"), Path.create("condot"), Condition("labels", 10)
    cell = SimpleNamespace(seed=0)
    splits = SimpleNamespace(train=digits.split("train"), test=digits.split("test"))
    flow = Flow(Still(), *parts)
    return pandas.DataFrame(moved_source.values(flow, cell, splits)).assign(flow="still", seed=0, step=None)


def test_the_moved_prior_has_the_moments_that_are_said(prior):
    moved = moved_source.moved_prior(prior, 2.0, 0.5)
    generator = torch.Generator().manual_seed(0)
    labels = LABEL.repeat(20)
    one, two = (own.sample(labels, generator=generator).flatten(1) for own in (prior, moved))
    torch.testing.assert_close(two.mean(0), one.mean(0) + 0.5, atol=0.05, rtol=0)
    torch.testing.assert_close(two.var(0).mean(), 4 * one.var(0).mean(), rtol=0.05, atol=0)
    shifted = moved_source.moved_prior(prior, 1.0, 0.5)
    torch.testing.assert_close(shifted.mean(LABEL[:1]), prior.mean(LABEL[:1]) + 0.5)


def by_move(rows: pandas.DataFrame, metric: str, what: str, nfe: int) -> pandas.Series:
    own = select(rows, metric=metric, sampler=f"moved {what}", nfe=nfe)
    return own.set_index("condition")["value"]


def test_moves_of_a_still_flow_are_those_of_its_prior(rows):
    """So a moved sample and a moved prior give the same distances, as far as chance allows."""
    source, moved = (by_move(rows, DISTANCE, what, nfe=15) for what in (SOURCE, PRIOR))
    assert list(source.index) == list(MOVES)
    assert source[UNMOVED] == pytest.approx(moved[UNMOVED], rel=1e-5)
    assert source.to_numpy() == pytest.approx(moved.to_numpy(), rel=0.1)
    assert source["shift 2"] > source["shift 1"] > source["shift 0.5"] > source[UNMOVED]
    seen = by_move(rows, RECOGNISED, SOURCE, nfe=4)
    assert seen[UNMOVED] > 0.9
    assert seen["scale 2"] < seen[UNMOVED]


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
