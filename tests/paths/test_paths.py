"""Every registered path, against calculus and its own closed form."""

from __future__ import annotations

import pytest
import torch

from flowprior.errors import InputError, OptionError
from flowprior.ops import affine_path
from flowprior.paths import CondOTPath, Path
from flowprior.priors import Prior

TIMES = torch.tensor([0.0, 0.1, 0.37, 0.5, 0.82, 0.99, 1.0], dtype=torch.float64)


def fitted(name: str) -> Prior:
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    return Prior.create(name).fit((x, torch.arange(50) % 2))


@pytest.mark.parametrize("name", Path.available())
def test_derivatives_are_those_of_the_coefficients(name: str) -> None:
    path = Path.create(name)
    t = TIMES[TIMES < 1.0].requires_grad_(True)
    alpha, sigma, alpha_dot, sigma_dot = path.coefficients(t)
    torch.testing.assert_close(torch.autograd.grad(alpha.sum(), t, retain_graph=True)[0], alpha_dot)
    torch.testing.assert_close(torch.autograd.grad(sigma.sum(), t)[0], sigma_dot)


@pytest.mark.parametrize("name", ["vp", "cosine"])
def test_variance_is_preserved(name: str) -> None:
    alpha, sigma, *_ = Path.create(name).coefficients(TIMES)
    torch.testing.assert_close(alpha.square() + sigma.square(), torch.ones_like(TIMES))


def test_vp_keeps_its_precision_beside_the_data() -> None:
    """σ² ≈ β_min s there, which 1 − exp(−T) would lose in float32."""
    s = torch.tensor([1e-3, 1e-4], dtype=torch.float32)
    _, sigma, _, _ = Path.create("vp").coefficients(1.0 - s)
    exact = (1.0 - torch.exp(-(0.1 * s.double() + 9.95 * s.double().square()))).sqrt()
    torch.testing.assert_close(sigma.double(), exact, rtol=1e-3, atol=0.0)


def test_vp_refuses_a_designed_prior() -> None:
    path = Path.create("vp")
    path.check(fitted("gaussian"))
    with pytest.raises(
        OptionError, match=r"'vp' is only valid for a standard normal source, got prior 'gmm'"
    ):
        path.check(fitted("gmm"))
    Path.create("cosine").check(fitted("gmm"))


@pytest.mark.parametrize(
    ("name", "options"),
    [("condot", {"sigma_min": 1.0}), ("condot", {"sigma_min": -0.1}), ("vp", {"beta_min": 0})],
)
def test_impossible_options(name: str, options: dict[str, float]) -> None:
    with pytest.raises(OptionError, match="not possible; choose"):
        Path.create(name, **options)


@pytest.mark.parametrize("name", Path.available())
def test_a_time_that_is_no_tensor_is_refused(name: str) -> None:
    x = torch.zeros(3, 2)
    with pytest.raises(InputError, match="interpolate: expected a tensor for t, got float; write it as"):
        Path.create(name).interpolate(x, x, 0.5)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="affine_path: expected a tensor for alpha, got float"):
        affine_path(x, x, (0.5, x[:, 0], x[:, 0], x[:, 0]))  # type: ignore[arg-type]


def test_shapes_that_do_not_fit() -> None:
    x = torch.zeros(3, 2)
    with pytest.raises(InputError, match=r"\[3, 2\], \[2, 2\] and \[3\]"):
        CondOTPath().interpolate(x, x[:2], torch.zeros(3))
    with pytest.raises(InputError, match=r"and t \[B\], got .* and \[\]"):
        CondOTPath().interpolate(x, x, torch.tensor(0.5))


@pytest.mark.parametrize("name", Path.available())
def test_regressing_the_velocity_of_two_gaussians_gives_the_closed_form(name: str) -> None:
    """E[u_t | x_t] between N(m0, s0²) and N(m1, s1²) drawn independently is linear in x_t.

    v = α' m1 + σ' m0 + (α' α s1² + σ' σ s0²) / (α² s1² + σ² s0²) (x − α m1 − σ m0). The least-squares fit to
    200,000 pairs lies within 5 standard errors of it (false alarm 6e-7 a coefficient).
    """
    generator = torch.Generator().manual_seed(3)
    m0, s0, m1, s1, n = 0.5, 1.3, -2.0, 0.4, 200_000
    x0, x1 = torch.randn(2, n, 1, generator=generator, dtype=torch.float64)
    x0, x1 = m0 + s0 * x0, m1 + s1 * x1
    path = Path.create(name)
    for time in (0.2, 0.5, 0.9):
        t = torch.full((n,), time, dtype=torch.float64)
        x_t, u_t, _ = path.interpolate(x0, x1, t)
        alpha, sigma, alpha_dot, sigma_dot = (float(c[0]) for c in path.coefficients(t))
        variance = alpha**2 * s1**2 + sigma**2 * s0**2
        slope = (alpha_dot * alpha * s1**2 + sigma_dot * sigma * s0**2) / variance
        centred = x_t - (alpha * m1 + sigma * m0)
        residual = u_t - (alpha_dot * m1 + sigma_dot * m0 + slope * centred)
        error = float(residual.std()) / n**0.5
        assert abs(float(residual.mean())) < 5 * error
        assert abs(float((residual * centred).mean())) / variance**0.5 < 5 * error
        assert float((residual * centred.square()).mean().abs()) / variance < 5 * 3**0.5 * error
