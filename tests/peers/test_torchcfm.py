"""torchcfm and flowprior on the same inputs: the same paths and plans, and where they differ, how."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowprior.couplings import transport_cost
from flowprior.couplings.ot import OTCoupling
from flowprior.paths import CondOTPath, CosinePath, Path

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
@pytest.mark.parametrize(
    ("matcher", "sigma", "path"),
    [
        ("ConditionalFlowMatcher", 0.3, CondOTPath()),
        ("TargetConditionalFlowMatcher", 0.1, CondOTPath(sigma_min=0.1)),
        ("VariancePreservingConditionalFlowMatcher", 0.3, CosinePath()),
    ],
)
def test_matchers_are_paths_with_noise_around_them(
    shape: tuple[int, ...], matcher: str, sigma: float, path: Path
) -> None:
    """The target matcher starts from its noise."""
    x0, x1, t = ends(shape)
    theirs = getattr(matching, matcher)(sigma=sigma)
    _, x, u, noise = theirs.sample_location_and_conditional_flow(x0, x1, t=t, return_noise=True)
    from_noise = matcher.startswith("Target")
    ours = path.interpolate(noise if from_noise else x0, x1, t)
    torch.testing.assert_close(x, ours.x_t if from_noise else ours.x_t + sigma * noise)
    torch.testing.assert_close(u, ours.u_t)


@pytest.mark.parametrize(
    ("matcher", "constant"),
    [("SchrodingerBridgeConditionalFlowMatcher", False), ("ConditionalFlowMatcher", True)],
)
def test_noise_on_the_way_and_its_velocity_are_theirs(
    matcher: str, constant: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x0, x1, t = ends((32, 2))
    theirs, noise = getattr(matching, matcher)(sigma=0.7), torch.randn_like(x0)
    monkeypatch.setattr("flowprior.paths.base.normal", lambda *_, **__: noise)
    x, u, _ = Path.create("bridge", sigma=0.7, constant=constant).interpolate(x0, x1, t)
    torch.testing.assert_close(x, theirs.sample_xt(x0, x1, t, noise), rtol=0, atol=1e-6)
    torch.testing.assert_close(u, theirs.compute_conditional_flow(x0, x1, t, x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_exact_plan_is_the_permutation_of_ot(shape: tuple[int, ...]) -> None:
    x0, x1, _ = ends(shape)
    plan = torch.from_numpy(transport.OTPlanSampler(method="exact").get_map(x0, x1))
    ours = OTCoupling().pair(x0, x1, None)
    torch.testing.assert_close(plan.sum(), torch.tensor(1.0, dtype=torch.float64))
    assert torch.equal(plan.argmax(0), ours)
    costs = torch.cdist(x0.flatten(1), x1.flatten(1)) ** 2
    assert float((plan * costs).sum()) == pytest.approx(float(transport_cost(x0[ours], x1)), rel=1e-6)
