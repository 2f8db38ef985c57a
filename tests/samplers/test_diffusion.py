"""DDIM and ancestral sampling where the best prediction is known: Gaussian data on a diffusion path.

Between N(0, 1) and data N(m, s²) a point x of the path has mean α m and variance α² s² + σ², so
E[x1 | x] = m + α s² / (α² s² + σ²) (x − α m), and start and velocity follow from it. The probability-flow
equation keeps (x − α m) / √(α² s² + σ²) along the way.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from flowprior.conditions import Condition
from flowprior.couplings import Coupling
from flowprior.errors import OptionError
from flowprior.flow import Flow
from flowprior.paths import Path
from flowprior.priors import Prior
from flowprior.samplers import Sampler
from flowprior.samplers.diffusion import DDIM, Ancestral

VP = Path.create("vp")
MEAN, SPREAD = 1.5, 0.5
DIFFUSION = [n for n in Sampler.available() if issubclass(Sampler.record(n).factory, DDIM)]  # type: ignore[arg-type]


def exact_velocity(mean: float, spread: float, path: Path = VP) -> Callable[..., Tensor]:
    """E[u | x] for data N(mean, spread²)."""

    def velocity(x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        alpha, sigma, alpha_dot, sigma_dot = (c.view(-1, 1) for c in path.coefficients(t))
        slope = alpha * spread**2 / (alpha**2 * spread**2 + sigma**2)
        x1 = mean + slope * (x - alpha * mean)
        if float(sigma.min()) == 0:
            return alpha_dot * x1
        return alpha_dot * x1 + sigma_dot * (x - alpha * x1) / sigma

    return velocity


def source_samples(count: int = 40_000, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(count, 1, generator=torch.Generator().manual_seed(1), dtype=dtype)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def diffusion_flow(**options: object) -> Flow:
    prior = Prior.create("gaussian").fit((torch.zeros(4, 1).double(), None))
    return Flow(exact_velocity(MEAN, SPREAD), prior, Coupling.create("condot"), VP, Condition(), **options)  # type: ignore[arg-type]


# -- the probability-flow equation ----------------------------------------------------------------


@pytest.mark.parametrize("grid", ["uniform", "cosine"])
def test_ddim_has_order_one_towards_the_probability_flow(grid: str) -> None:
    x0 = source_samples(7)
    alpha, sigma, *_ = VP.coefficients(torch.zeros(1, dtype=torch.float64))
    exact = MEAN + SPREAD * (x0 - alpha * MEAN) / (alpha**2 * SPREAD**2 + sigma**2).sqrt()
    sampler = DDIM(grid=grid).prepare(VP)
    steps = torch.tensor([64, 128, 256, 512])
    velocity = exact_velocity(MEAN, SPREAD)
    errors = [float((sampler.integrate(velocity, x0, nfe=int(n)) - exact).abs().max()) for n in steps]
    x, y = steps.double().log(), torch.tensor(errors).double().log()
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum())
    assert -slope == pytest.approx(1.0, abs=0.15)
    assert errors[-1] < 0.01


def test_ddim_on_the_straight_path_is_euler() -> None:
    x0, straight = source_samples(9), Path.create("condot")

    def velocity(x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        return torch.sin(3 * x) - t[:, None]

    ddim = Sampler.create("ddim").prepare(straight)
    for nfe in (1, 4, 9):
        euler = Sampler.create("euler").integrate(velocity, x0, nfe=nfe)
        torch.testing.assert_close(ddim.integrate(velocity, x0, nfe=nfe), euler)


# -- the law --------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["ddim", "ddim:eta=0.5", "ddim:eta=1.0", "ancestral"])
@pytest.mark.parametrize("name", ["vp", "cosine"])
def test_data_of_one_point_have_the_law_of_the_path_at_every_step(spec: str, name: str) -> None:
    """Then x1 is known and the predicted noise is exact: x_t ~ N(α m, σ²) however few the steps.

    Within 5 standard errors of mean and variance (false alarm 6e-7 each).
    """
    path, x0 = Path.create(name), source_samples()
    sampler = Sampler.registry.resolve(spec).prepare(path, generator=seeded())
    alpha0, sigma0, *_ = (float(c) for c in path.coefficients(torch.zeros((), dtype=torch.float64)))
    x0 = alpha0 * MEAN + sigma0 * x0
    solution = sampler.solve(exact_velocity(MEAN, 0.0, path), x0, nfe=5, trajectory=True)
    alpha, sigma, *_ = path.coefficients(solution.times)
    for state, a, s in zip(solution.trajectory, alpha.tolist(), sigma.tolist(), strict=True):  # type: ignore[arg-type]
        assert float(state.mean()) == pytest.approx(a * MEAN, abs=5 * s / len(x0) ** 0.5 + 1e-9)
        assert float(state.var()) == pytest.approx(s**2, abs=5 * s**2 * (2 / len(x0)) ** 0.5 + 1e-9)


def test_ancestral_is_ho_et_al_algorithm_2() -> None:
    """x' = (x − β/σ ε) / √(1 − β) + √β̃ z with 1 − β = ᾱ/ᾱ', written there for ᾱ = α²."""
    velocity, x, nfe = exact_velocity(MEAN, SPREAD), source_samples(5), 6
    found = Ancestral().prepare(VP, generator=seeded(3)).integrate(velocity, x, nfe=nfe)
    noise = seeded(3)
    times = torch.linspace(0, 1, nfe + 1, dtype=torch.float64)
    bars = VP.coefficients(times).alpha.square()
    for i in range(nfe):
        sigma = (1 - bars[i]).sqrt()
        x1 = MEAN + bars[i].sqrt() * SPREAD**2 / (bars[i] * SPREAD**2 + 1 - bars[i]) * (
            x - bars[i].sqrt() * MEAN
        )
        epsilon = (x - bars[i].sqrt() * x1) / sigma
        beta = 1 - bars[i] / bars[i + 1]
        x = (x - beta / sigma * epsilon) / (1 - beta).sqrt()
        if i < nfe - 1:
            posterior = (1 - bars[i + 1]) / (1 - bars[i]) * beta
            x = x + posterior.sqrt() * torch.randn(x.shape, generator=noise, dtype=x.dtype)
    torch.testing.assert_close(found, x)


# -- what the contract asks -----------------------------------------------------------------------


@pytest.mark.parametrize("name", DIFFUSION)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_evaluations_times_and_dtype(name: str, dtype: torch.dtype) -> None:
    seen: list[tuple[Tensor, Tensor | None]] = []
    labels = torch.arange(6)

    def velocity(x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        assert x.dtype == t.dtype == dtype
        assert t.shape == (6,)
        seen.append((t, cond))
        return exact_velocity(MEAN, SPREAD)(x, t)

    sampler = Sampler.create(name).prepare(VP, generator=seeded())
    solution = sampler.solve(velocity, source_samples(6, dtype), labels, nfe=7, trajectory=True)
    assert solution.nfe == len(seen) == 7
    assert all(cond is labels for _, cond in seen)
    assert solution.x.dtype == dtype
    assert solution.trajectory is not None
    assert solution.trajectory.shape == (8, 6, 1)
    assert solution.times.tolist() == pytest.approx([i / 7 for i in range(8)])
    plain = sampler.solve(velocity, source_samples(6, dtype))
    assert (plain.nfe, plain.trajectory) == (15, None)
    with pytest.raises(OptionError, match="nfe=0 is not possible; choose 1 or more"):
        sampler.solve(velocity, source_samples(6, dtype), nfe=0)


@pytest.mark.parametrize("spec", ["ancestral", "ddim:eta=0.7", "ddim"])
def test_samples_follow_from_the_generator_alone(spec: str) -> None:
    flow = diffusion_flow()
    whole = flow.solve(n=11, sampler=spec, nfe=5, generator=seeded(4), trajectory=True)
    parts = flow.solve(n=11, sampler=spec, nfe=5, generator=seeded(4), trajectory=True, batch_size=4)
    other = flow.sample(n=11, sampler=spec, nfe=5, generator=seeded(5))
    assert whole.nfe == parts.nfe == 5
    torch.testing.assert_close(whole.x, parts.x)
    torch.testing.assert_close(whole.trajectory, parts.trajectory)
    assert not torch.allclose(whole.x, other)


def test_where_the_datum_is_clipped_the_noise_is_what_the_point_has_beside_it() -> None:
    """x' = α' x̂1 + σ' (x − α x̂1)/σ with x̂1 bounded, so that the last step ends at x̂1 itself."""
    x0, velocity = 2 * source_samples(50), exact_velocity(MEAN, SPREAD)
    sampler = Sampler.create("ddim", clip=1.0).prepare(VP)
    states = sampler.solve(velocity, x0, nfe=3, trajectory=True).trajectory
    assert states is not None
    alpha, sigma, *_ = VP.coefficients(torch.linspace(0, 1, 4, dtype=torch.float64))
    for i in range(3):
        x, a, s = states[i], alpha[i], sigma[i]
        x1 = MEAN + a * SPREAD**2 / (a**2 * SPREAD**2 + s**2) * (x - a * MEAN)
        clipped = x1.clamp(-1, 1)
        expected = alpha[i + 1] * clipped + sigma[i + 1] * (x - a * clipped) / s
        torch.testing.assert_close(states[i + 1], expected)


def test_clip_bounds_the_predicted_datum() -> None:
    flow = diffusion_flow()
    clipped = flow.sample(n=500, sampler="ddim:clip=1.0", nfe=6, generator=seeded())
    assert float(clipped.abs().max()) <= 1.0 + 1e-12
    free = flow.sample(n=500, sampler="ddim", nfe=6, generator=seeded())
    assert float(free.abs().max()) > 1.5


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DIFFUSION)
def test_a_sampler_that_was_not_told_the_path_says_so(name: str) -> None:
    with pytest.raises(OptionError, match=rf"'{name}' steps along the path.*sampler.prepare\(path\)"):
        Sampler.create(name).solve(exact_velocity(MEAN, SPREAD), source_samples(3))


@pytest.mark.parametrize("spec", ["ancestral", "ddim:eta=0.5"])
def test_new_noise_needs_path_prior_and_coupling_to_fit(spec: str) -> None:
    sampler: Sampler = Sampler.registry.resolve(spec)
    x = torch.randn(20, 2, generator=seeded())
    gmm, normal = Prior.create("gmm").fit((x, torch.arange(20) % 2)), Prior.create("gaussian").fit((x, None))
    with pytest.raises(OptionError, match=r"only valid on a path with α² \+ σ² = 1.*got path 'condot'"):
        sampler.prepare(Path.create("condot"), normal)
    with pytest.raises(OptionError, match="only valid for a standard normal source, got prior 'gmm'"):
        sampler.prepare(Path.create("cosine"), gmm)
    with pytest.raises(OptionError, match="paired with data at random, got a OTCoupling"):
        sampler.prepare(VP, normal, Coupling.create("ot"))
    sampler.prepare(VP, normal, Coupling.create("independent"))
    Sampler.create("ddim").prepare(Path.create("condot"), gmm, Coupling.create("ot"))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ddim", {"eta": 1.5}),
        ("ddim", {"clip": -1.0}),
        ("ddim", {"clip": math.nan}),
    ],
)
def test_impossible_options(name: str, options: dict[str, object]) -> None:
    with pytest.raises(OptionError, match="is not possible"):
        Sampler.create(name, **options)
