"""Every registered path, against calculus and its own closed form."""

from __future__ import annotations

import pytest
import torch

from flowprior.errors import InputError, OptionError
from flowprior.paths import CondOTPath, Path
from flowprior.priors import Prior

WITHOUT_NOISE = [name for name in Path.available() if not Path.create(name).has_noise]
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


def test_inputs_that_do_not_fit() -> None:
    x = torch.zeros(3, 2)
    with pytest.raises(InputError, match=r"floating-point x0 and x1 .* torch.int64 \[3, 2\]"):
        CondOTPath().interpolate(x.long(), x.long(), torch.zeros(3))
    with pytest.raises(InputError, match=r"\[3, 2\], torch.float32 \[2, 2\] and \[3\]"):
        CondOTPath().interpolate(x, x[:2], torch.zeros(3))
    with pytest.raises(InputError, match=r"and t \[B\], got .* and \[\]"):
        CondOTPath().interpolate(x, x, torch.tensor(0.5))


@pytest.mark.parametrize("name", WITHOUT_NOISE)
@pytest.mark.parametrize(
    ("dtype", "bound"),
    [(torch.float32, 2e-6), (torch.float64, 1e-12), (torch.bfloat16, 1e-2), (torch.float16, 2e-3)],
)
@pytest.mark.parametrize("event", [(), (7,), (2, 3, 4)])
def test_point_and_velocity_are_their_formulas(name, dtype, bound, event, generator) -> None:
    """In the wider dtype of x0 and x1, rounded once, whatever the dtype of the times."""
    path, t = Path.create(name), torch.tensor([0.1, 0.3, 0.5, 0.6, 0.9])
    x0, x1 = torch.randn(2, 5, *event, generator=generator, dtype=torch.float64).to(dtype)
    exact = [c.view(-1, *[1] * len(event)) for c in path.coefficients(t.double())]
    for x in (x0, x0.float()):
        x_t, u_t, _ = path.interpolate(x, x1, t)
        assert x_t.dtype == u_t.dtype == torch.promote_types(x.dtype, dtype)
        for found, alpha, sigma in ((x_t, exact[0], exact[1]), (u_t, exact[2], exact[3])):
            expected = alpha * x1.double() + sigma * x.double()
            torch.testing.assert_close(found.double(), expected, rtol=bound, atol=4 * max(bound, 2e-6))


@pytest.mark.parametrize("sigma_min", [0.0, 0.1])
def test_the_straight_path_meets_its_ends(sigma_min, generator) -> None:
    x0, x1 = torch.randn(2, 6, 33, generator=generator)
    path = CondOTPath(sigma_min)
    assert torch.equal(path.interpolate(x0, x1, torch.zeros(6)).x_t, x0)
    torch.testing.assert_close(path.interpolate(x0, x1, torch.ones(6)).x_t, x1 + sigma_min * x0)
    torch.testing.assert_close(path.interpolate(x0, x1, torch.rand(6)).u_t, x1 - (1 - sigma_min) * x0)


@pytest.mark.parametrize("name", WITHOUT_NOISE)
def test_derivatives_of_every_order_forward_mode_and_transforms(name, generator) -> None:
    path = Path.create(name)
    x0, x1 = torch.randn(2, 3, 2, generator=generator, dtype=torch.float64).unbind()
    t = torch.rand(3, generator=generator, dtype=torch.float64)
    inputs = [tensor.requires_grad_() for tensor in (x0.clone(), x1.clone(), t)]
    assert torch.autograd.gradcheck(
        lambda *given: path.interpolate(*given)[:2], inputs, check_forward_ad=True
    )
    assert torch.autograd.gradgradcheck(lambda *given: path.interpolate(*given)[:2], inputs)
    mapped = torch.func.vmap(lambda a, b: path.interpolate(a, b, t.detach())[0])(
        x0.expand(4, 3, 2), x1.expand(4, 3, 2)
    )
    torch.testing.assert_close(mapped[1], path.interpolate(x0, x1, t.detach())[0])


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
