"""torchcfm and flowprior on the same inputs: the same paths and plans, and where they differ, how."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from flowprior.couplings import OTCoupling, transport_cost
from flowprior.metrics import wasserstein2_squared
from flowprior.paths import CondOTPath, CosinePath

matching = pytest.importorskip(
    "torchcfm.conditional_flow_matching", reason="torchcfm is not installed: see benchmarks/peers.txt"
)
transport = pytest.importorskip("torchcfm.optimal_transport")

SHAPES = [(32, 2), (8, 3, 4, 4)]


def ends(shape: tuple[int, ...], seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """x0, x1 and times that are not 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    x0, x1 = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    return x0, 3 * x1 + 1, 0.05 + 0.9 * torch.rand(shape[0], generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("shape", SHAPES)
def test_without_noise_the_matcher_is_the_straight_path(shape: tuple[int, ...]) -> None:
    x0, x1, t = ends(shape)
    matcher = matching.ConditionalFlowMatcher(sigma=0.0)
    their_t, their_x, their_u = matcher.sample_location_and_conditional_flow(x0, x1, t=t)
    ours = CondOTPath().interpolate(x0, x1, t)
    torch.testing.assert_close(their_x, ours.x_t)
    torch.testing.assert_close(their_u, ours.u_t)
    assert torch.equal(their_t, ours.t)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_matchers_sigma_is_noise_around_the_straight_path(shape: tuple[int, ...]) -> None:
    x0, x1, t = ends(shape)
    matcher = matching.ConditionalFlowMatcher(sigma=0.3)
    _, their_x, their_u, noise = matcher.sample_location_and_conditional_flow(x0, x1, t=t, return_noise=True)
    ours = CondOTPath().interpolate(x0, x1, t)
    torch.testing.assert_close(their_x, ours.x_t + 0.3 * noise)
    torch.testing.assert_close(their_u, ours.u_t)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_target_matcher_is_the_straight_path_from_its_noise(shape: tuple[int, ...]) -> None:
    x0, x1, t = ends(shape)
    matcher = matching.TargetConditionalFlowMatcher(sigma=0.1)
    _, their_x, their_u, noise = matcher.sample_location_and_conditional_flow(x0, x1, t=t, return_noise=True)
    ours = CondOTPath(sigma_min=0.1).interpolate(noise, x1, t)
    torch.testing.assert_close(their_x, ours.x_t)
    torch.testing.assert_close(their_u, ours.u_t)


def test_the_target_matcher_ignores_the_source_that_it_is_given() -> None:
    """A designed source is lost in it without a word; the path takes what the coupling drew."""
    x0, x1, t = ends((4096, 2))
    _, x_t, _ = matching.TargetConditionalFlowMatcher().sample_location_and_conditional_flow(
        x0 + 100, x1, t=torch.zeros_like(t)
    )
    assert x_t.mean().abs() < 1
    torch.testing.assert_close(CondOTPath().interpolate(x0 + 100, x1, torch.zeros_like(t)).x_t, x0 + 100)


def test_at_the_data_the_target_matchers_velocity_is_not_finite_and_ours_is() -> None:
    """Theirs divides by 1 − t; the velocity of a pair is x1 − x0 at every t, and ours is that."""
    x0, x1, _ = ends((16, 2))
    one = torch.ones(16, dtype=torch.float64)
    theirs = matching.TargetConditionalFlowMatcher(sigma=0.0).compute_conditional_flow(x0, x1, one, x1)
    assert not theirs.isfinite().any()
    torch.testing.assert_close(CondOTPath().interpolate(x0, x1, one).u_t, x1 - x0)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_variance_preserving_matcher_is_the_cosine_path(shape: tuple[int, ...]) -> None:
    x0, x1, t = ends(shape)
    matcher = matching.VariancePreservingConditionalFlowMatcher(sigma=0.0)
    _, their_x, their_u = matcher.sample_location_and_conditional_flow(x0, x1, t=t)
    ours = CosinePath().interpolate(x0, x1, t)
    torch.testing.assert_close(their_x, ours.x_t)
    torch.testing.assert_close(their_u, ours.u_t)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_exact_plan_is_the_permutation_of_ot(shape: tuple[int, ...]) -> None:
    x0, x1, _ = ends(shape)
    plan = torch.from_numpy(transport.OTPlanSampler(method="exact").get_map(x0, x1))
    ours = OTCoupling().pair(x0, x1, None)
    torch.testing.assert_close(plan.sum(), torch.tensor(1.0, dtype=torch.float64))
    assert torch.equal(plan.argmax(0), ours)
    costs = torch.cdist(x0.flatten(1), x1.flatten(1)) ** 2
    assert float((plan * costs).sum()) == pytest.approx(float(transport_cost(x0[ours], x1)), rel=1e-6)


def test_a_plan_that_is_sampled_loses_data_and_a_permutation_loses_none() -> None:
    x0, x1, _ = ends((512, 2))
    np.random.seed(0)  # noqa: NPY002 (torchcfm draws from numpy's global state)
    _, drawn = transport.OTPlanSampler(method="exact").sample_plan(x0, x1)
    assert len(drawn.unique(dim=0)) / 512 == pytest.approx(1 - math.exp(-1), abs=0.06)
    assert len(OTCoupling().pair(x0, x1, None).unique()) == 512


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore:Warning. numerical errors:UserWarning")
def test_sinkhorn_of_large_costs_falls_back_to_chance_there_and_keeps_its_pairs_here() -> None:
    """Their regularisation is an absolute number, ours a share of the mean cost: units do not matter."""
    x0, x1, _ = ends((64, 2))
    with pytest.warns(UserWarning, match="reverting to uniform plan"):
        plan = transport.OTPlanSampler(method="sinkhorn", reg=0.05).get_map(1e3 * x0, 1e3 * x1)
    np.testing.assert_allclose(plan, 1 / 64**2)
    coupling = OTCoupling(method="sinkhorn", reg=0.05)
    small, large = (
        coupling.pair(scale * x0, scale * x1, None, generator=torch.Generator().manual_seed(0))
        for scale in (1.0, 1e3)
    )
    assert torch.equal(small, large)
    assert transport_cost(x0[small], x1) < 0.7 * transport_cost(x0, x1)


def test_their_distance_is_the_root_of_ours() -> None:
    x0, x1, _ = ends((64, 3))
    assert transport.wasserstein(x0, x1, power=2) ** 2 == pytest.approx(wasserstein2_squared(x0, x1))
