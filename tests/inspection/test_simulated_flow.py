"""The simulated flow: closed forms of Gaussians, orders that theory knows, and the regression behind it."""

from __future__ import annotations

import functools
import math

import pytest
import torch

from flowprior.couplings import Coupling
from flowprior.inspection.examples import Examples
from flowprior.inspection.regression import fit_regression, principal_axes
from flowprior.inspection.simulated_flow import SimulatedFlow, energy_coefficient, simulate_flow
from flowprior.priors import Prior
from flowprior.streams.user_tensors import tensor_data


def simulated(x, cond, prior: str, coupling: str) -> SimulatedFlow:
    examples = Examples.of(tensor_data(x, cond), limit=len(x))
    fitted = Prior.registry.resolve(prior).fit((examples.x, examples.cond))
    return simulate_flow(
        fitted, Coupling.registry.resolve(coupling), examples, torch.Generator().manual_seed(0)
    )


@functools.cache
def one_class(coupling: str) -> SimulatedFlow:
    """N(0, I) in two dimensions, from a prior fitted to it."""
    x = torch.randn(3000, 2, generator=torch.Generator().manual_seed(0))
    return simulated(x, torch.zeros(3000, dtype=torch.long), "gmm", coupling)


def test_energy_coefficient_of_equal_and_of_distant_clouds(generator):
    x, y = torch.randn(2, 500, 3, generator=generator).double()
    assert abs(energy_coefficient(x, y)) < 0.02
    assert energy_coefficient(x, y + 100) > 0.9


def test_random_pairs_of_equal_gaussians_cross_by_the_known_amount():
    """Var(x1 − x0 | x_t) = s² / (t² + (1 − t)²), here averaged over t = 0, 1/4, 1/2, 3/4."""
    found = one_class("condot")
    known = sum(1 / (t**2 + (1 - t) ** 2) for t in (0, 0.25, 0.5, 0.75)) / 4
    assert found.crossing == pytest.approx(known, rel=0.12)
    assert found.distance.keys() == {1, 2, 4}


def test_one_step_of_random_pairs_falls_on_the_mean_and_paired_ones_come_closer():
    """E[x1 | x0] is the mean, so one Euler step leaves no spread at all; more steps leave more."""
    random, paired = one_class("condot"), one_class("ot")
    assert random.distance[1] > 0.2
    assert random.distance[1] > random.distance[2] > random.distance[4]
    assert paired.crossing < 0.5 * random.crossing
    assert paired.distance[1] < 0.2 * random.distance[1]


def test_a_mismatch_of_both_sources_shows():
    """Class-blind transport gives each class source samples that sampling under it does not use."""
    labels = torch.arange(800) % 2
    x = 0.3 * torch.randn(800, 2, generator=torch.Generator().manual_seed(0)) + 4 * labels[:, None]
    blind, within = (
        simulated(x, labels, "gaussian", f"ot:condition={name}") for name in ("ignore", "within")
    )
    assert blind.distance[4] > 5 * max(within.distance[4], 1e-3)
    assert within.groups == 2
    assert blind.shift > 0.5
    assert within.shift < 0.05
    assert blind.score > 2 * within.score


def test_the_score_is_the_geometric_mean_of_both_errors():
    found = SimulatedFlow({1: 0.5, 2: 0.04}, crossing=0.9, shift=0.0, groups=1)
    assert found.score == pytest.approx((0.04 * 0.9) ** 0.5)
    shifted = SimulatedFlow({1: 0.5, 2: 0.04}, crossing=0.9, shift=1.0, groups=1)
    assert shifted.score == pytest.approx(found.score * math.e**0.5)
    chance = SimulatedFlow({1: -0.002}, crossing=0.9, shift=0.0, groups=1)
    assert chance.score == pytest.approx((1e-3 * 0.9) ** 0.5), "a negative distance is chance's"


def test_principal_axes_are_those_of_the_singular_value_decomposition(generator):
    for shape in ((200, 5), (60, 90)):
        x = torch.randn(*shape, generator=generator).double() * torch.arange(1, shape[1] + 1)
        axes = principal_axes(x)
        right = torch.linalg.svd(x - x.mean(0), full_matrices=False).Vh[: axes.shape[1]]
        torch.testing.assert_close((right @ axes).abs(), torch.eye(len(right)).double(), rtol=0, atol=1e-6)


def test_embeddings_are_pooled_about_their_mean():
    generator = torch.Generator().manual_seed(0)
    e = torch.randn(400, 3, generator=generator)
    x = e @ torch.randn(3, 4, generator=generator) + 0.3 * torch.randn(400, 4, generator=generator)
    found = simulated(x, e, "learned-mean:sigma=0.3,hidden=16", "condot")
    assert found.groups == 1
    assert found.distance[4] < 0.1


def test_it_finds_an_affine_map(generator):
    x = torch.randn(200, 3, generator=generator).double()
    matrix, shift = torch.randn(3, 2, generator=generator).double(), torch.tensor([1.0, -2.0]).double()
    denoiser, error = fit_regression(x, x @ matrix + shift)
    fresh = torch.randn(50, 3, generator=generator).double()
    torch.testing.assert_close(denoiser(fresh), fresh @ matrix + shift, rtol=1e-3, atol=1e-3)
    assert error < 1e-6
    denoiser, _ = fit_regression(torch.ones(20, 2).double(), torch.arange(20.0).double()[:, None])
    assert denoiser(torch.ones(1, 2).double()).item() == pytest.approx(9.5), "the mean of equal rows"


def test_it_follows_a_curve_that_no_affine_map_can(generator):
    x = torch.randn(400, 1, generator=generator).double()
    y = (2 * x).sin()
    _, error = fit_regression(x, y)
    slope = (x * y).mean() / x.square().mean()
    assert error < 0.3 * (y - slope * x).square().mean().item()


def test_the_error_is_that_on_rows_left_out(generator):
    """Pure noise in 40 dimensions: the fit explains its own rows, and says that it explains no others."""
    x, y = torch.randn(2, 120, 40, generator=generator).double()
    denoiser, error = fit_regression(x, y)
    fresh_x, fresh_y = torch.randn(2, 2000, 40, generator=generator).double()
    assert error == pytest.approx((denoiser(fresh_x) - fresh_y).square().mean().item(), rel=0.15)
    assert (denoiser(x) - y).square().mean() < error
