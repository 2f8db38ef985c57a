"""Bits per dimension: closed forms with and without dequantisation, levels, and the estimate."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from flowprior.data import Data
from flowprior.flow import Flow
from flowprior.metrics import bits_per_dimension
from flowprior.metrics.bits import choose_divergence, levels_of
from tests.gaussian_flow import GaussianVelocity, LinearVelocity, flow_of


def gaussian_flow(mean: float, std: float, dim: int) -> Flow:
    """From the standard normal to N(mean, std²) in every number."""
    one = torch.ones(dim, dtype=torch.float64)
    return flow_of(GaussianVelocity((0 * one, one), (mean * one, std * one)), event=(dim,))


def normal_bits(x: Tensor, mean: float, std: float) -> Tensor:
    return -torch.distributions.Normal(mean, std).log_prob(x).mean(1) / math.log(2)


def test_a_gaussian_flow_gives_the_bits_of_its_gaussian(generator: torch.Generator) -> None:
    x = 0.2 + 0.5 * torch.randn(400, 4, generator=generator, dtype=torch.float64)
    found = bits_per_dimension(gaussian_flow(0.2, 0.5, 4), x)
    torch.testing.assert_close(found, normal_bits(x, 0.2, 0.5), rtol=1e-3, atol=1e-3)
    entropy = 0.5 * math.log2(2 * math.pi * math.e * 0.25)
    assert found.mean().item() == pytest.approx(entropy, abs=0.1)


def test_a_linear_flow_gives_its_determinant(generator: torch.Generator) -> None:
    velocity = LinearVelocity(3)
    x = torch.randn(10, 3, generator=generator, dtype=torch.float64)
    flow = flow_of(velocity)
    start = flow.prior.log_prob(velocity.start_of(x), None)
    expected = -(start - velocity.matrix.trace().detach()) / (3 * math.log(2))
    found = bits_per_dimension(flow, x, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(found, expected.detach(), rtol=1e-5, atol=1e-6)


def test_dequantised_pictures_are_scored_in_their_own_cells(generator: torch.Generator) -> None:
    levels = torch.randint(0, 256, (30, 4), generator=generator)
    x = levels.double() / 127.5 - 1
    state = generator.get_state()
    found = bits_per_dimension(gaussian_flow(0.0, 0.7, 4), x, levels=256, generator=generator)
    generator.set_state(state)
    noise = torch.rand(x.shape, generator=generator, dtype=torch.float64)
    points = 2 * (levels + noise) / 256 - 1
    torch.testing.assert_close(found, normal_bits(points, 0.0, 0.7) + 7, rtol=1e-3, atol=1e-3)


def test_levels_are_read_off_the_data(digits: tuple[Data, Data], generator: torch.Generator) -> None:
    x, _ = digits[0].batch(torch.arange(50))
    assert levels_of(x) == 17
    bytes_ = torch.randint(0, 256, (20, 9), generator=generator)
    assert levels_of(bytes_.float() / 127.5 - 1) == 256
    assert levels_of((bytes_ % 2).float() * 2 - 1) == 2
    assert levels_of(torch.rand(20, 9, generator=generator)) is None
    assert levels_of(torch.tensor([[-1.0, 3.0]])) is None


def test_large_events_are_estimated_without_bias(generator: torch.Generator) -> None:
    assert (choose_divergence(16), choose_divergence(17)) == ("exact", "hutchinson")
    velocity = LinearVelocity(3)
    x = torch.randn(1, 3, generator=generator, dtype=torch.float64).expand(400, 3)
    exact = bits_per_dimension(flow_of(velocity), x[:1]).item()
    estimates = bits_per_dimension(flow_of(velocity), x, divergence="hutchinson", generator=generator)
    assert estimates.std() > 0
    assert estimates.mean().item() == pytest.approx(exact, abs=4 * estimates.std().item() / 20)
