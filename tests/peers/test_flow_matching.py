"""facebookresearch/flow_matching and flowprior on the same inputs: paths, ends, solvers, likelihood."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from flowprior import Coupling, Flow, Path, Prior
from flowprior.conditions import Condition
from flowprior.paths.base import ends_of_velocity, velocity_of_source
from flowprior.samplers import Sampler

paths = pytest.importorskip(
    "flow_matching.path", reason="flow_matching is not installed: see benchmarks/peers.txt"
)
schedulers = pytest.importorskip("flow_matching.path.scheduler")
solvers = pytest.importorskip("flow_matching.solver")

SCHEDULERS = {"condot": "CondOTScheduler", "cosine": "CosineScheduler", "vp": "VPScheduler"}
MATRIX = torch.tensor([[-0.4, 1.0, 0.0], [-1.0, -0.2, 0.3], [0.1, 0.0, 0.5]], dtype=torch.float64)


def ends(shape: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """x0, x1 and times that are not 0 or 1."""
    generator = torch.Generator().manual_seed(0)
    x0, x1 = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    return x0, 3 * x1 + 1, 0.05 + 0.9 * torch.rand(shape[0], generator=generator, dtype=torch.float64)


def velocity(x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
    """Linear in x, of one time for all rows or one for each."""
    return x @ MATRIX.mT * (1 + t.reshape(-1, 1) ** 2)


@pytest.mark.parametrize("shape", [(32, 3), (8, 3, 4, 4)])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_paths_of_the_same_schedule_and_their_ends_agree(name: str, shape: tuple[int, ...]) -> None:
    x0, x1, t = ends(shape)
    theirs, ours = paths.AffineProbPath(getattr(schedulers, SCHEDULERS[name])()), Path.create(name)
    sample, (x_t, u_t, _) = theirs.sample(x_0=x0, x_1=x1, t=t), ours.interpolate(x0, x1, t)
    torch.testing.assert_close((sample.x_t, sample.dx_t), (x_t, u_t))
    column, found = t.view(-1, *[1] * (x0.dim() - 1)), ends_of_velocity(ours, u_t, x_t, t)
    target, noise = theirs.velocity_to_target(u_t, x_t, column), theirs.velocity_to_epsilon(u_t, x_t, column)
    of_noise = theirs.epsilon_to_velocity(x0, x_t, column)
    expected = (found.x1, found.x0, velocity_of_source(ours, x0, x_t, t))
    torch.testing.assert_close((target, noise, of_noise), expected, rtol=1e-6, atol=1e-6)


def solved(method: str, x0: Tensor, **options: object) -> Tensor:
    return solvers.ODESolver(velocity_model=velocity).sample(x_init=x0, method=method, **options)


@pytest.mark.parametrize(
    ("method", "evaluations"),
    [
        ("euler", 1),
        ("midpoint", 2),
        ("heun3", 3),
        *((name, None) for name in ("dopri5", "bosh3")),
    ],
)
def test_the_same_method_leads_to_the_same_points(method: str, evaluations: int | None) -> None:
    """By equal steps, or within the tolerance."""
    x0, *_ = ends((16, 3))
    if evaluations is None:
        theirs = solved(method, x0, step_size=None, rtol=1e-7, atol=1e-7)
        ours = Sampler.create(method, rtol=1e-7, atol=1e-7).solve(velocity, x0)
        torch.testing.assert_close(theirs, ours.x, rtol=5e-5, atol=5e-5)
    else:
        ours = Sampler.create(method).solve(velocity, x0, nfe=4 * evaluations)
        torch.testing.assert_close(solved(method, x0, step_size=0.25), ours.x)
        assert ours.nfe == 4 * evaluations


def test_likelihoods_agree_from_the_same_prior() -> None:
    x1 = ends((16, 3))[1]
    prior = Prior.create("gmm", components=2).fit(x1, generator=torch.Generator().manual_seed(0))
    prior.double()
    log_p0: Callable[[Tensor], Tensor] = prior.log_prob
    _, theirs = solvers.ODESolver(velocity_model=velocity).compute_likelihood(
        x_1=x1, log_p0=log_p0, step_size=None, method="dopri5", rtol=1e-8, atol=1e-8, exact_divergence=True
    )
    flow = Flow(velocity, prior, Coupling.create("condot"), Path.create("condot"), Condition())
    torch.testing.assert_close(theirs, flow.log_prob(x1, rtol=1e-8, atol=1e-8), rtol=1e-5, atol=1e-5)
