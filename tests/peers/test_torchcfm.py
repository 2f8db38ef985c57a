"""torchcfm and flowprior on the same inputs: the same paths and plans, and where they differ, how."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowprior.couplings import transport_cost
from flowprior.couplings.ot import OTCoupling
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


@pytest.mark.parametrize("sigma", [0.0, 0.3])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_matchers_sigma_is_noise_around_the_straight_path(shape: tuple[int, ...], sigma: float) -> None:
    x0, x1, t = ends(shape)
    matcher = matching.ConditionalFlowMatcher(sigma=sigma)
    _, their_x, their_u, noise = matcher.sample_location_and_conditional_flow(x0, x1, t=t, return_noise=True)
    ours = CondOTPath().interpolate(x0, x1, t)
    torch.testing.assert_close(their_x, ours.x_t + sigma * noise)
    torch.testing.assert_close(their_u, ours.u_t)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_target_matcher_is_the_straight_path_from_its_noise(shape: tuple[int, ...]) -> None:
    x0, x1, t = ends(shape)
    matcher = matching.TargetConditionalFlowMatcher(sigma=0.1)
    _, their_x, their_u, noise = matcher.sample_location_and_conditional_flow(x0, x1, t=t, return_noise=True)
    ours = CondOTPath(sigma_min=0.1).interpolate(noise, x1, t)
    torch.testing.assert_close(their_x, ours.x_t)
    torch.testing.assert_close(their_u, ours.u_t)


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
