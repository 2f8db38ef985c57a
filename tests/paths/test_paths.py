"""Every registered path, with and without noise, against calculus and its own closed form."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from flowprior import train
from flowprior.errors import InputError, OptionError
from flowprior.paths import CondOTPath, Path, ends_of_velocity, velocity_of_source
from flowprior.paths.noisy import BridgePath
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


# -- the ends of a point and its velocity ---------------------------------------------------------


BEFORE_THE_END = torch.tensor([0.0, 0.1, 0.37, 0.5, 0.82, 0.99], dtype=torch.float64)


def ends() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x0, x1 = torch.randn(2, len(BEFORE_THE_END), 2, 3, generator=generator, dtype=torch.float64)
    return x0, x1


@pytest.mark.parametrize(
    "spec", ["condot", "cosine", "vp", "condot:sigma_min=0.1", "vp:beta_min=1.0,beta_max=5.0"]
)
def test_the_ends_follow_from_point_and_velocity(spec: str) -> None:
    path, (x0, x1) = Path.registry.resolve(spec), ends()
    x_t, u_t, t = path.interpolate(x0, x1, BEFORE_THE_END)
    found = ends_of_velocity(path, u_t, x_t, t)
    torch.testing.assert_close(found.x0, x0)
    torch.testing.assert_close(found.x1, x1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_velocity_follows_from_the_start_on_vp(dtype: torch.dtype) -> None:
    """Also at t = 1, where σ' is taken a little before the end."""
    path, (x0, x1) = Path.create("vp"), ends()
    times = torch.cat([BEFORE_THE_END[:-1], torch.ones(1, dtype=torch.float64)]).to(dtype)
    x_t, u_t, t = path.interpolate(x0.to(dtype), x1.to(dtype), times)
    found = velocity_of_source(path, x0.to(dtype), x_t, t)
    assert found.dtype == dtype
    torch.testing.assert_close(found, u_t, rtol=1e-3 if dtype == torch.float32 else 1e-9, atol=1e-4)


# -- paths with noise on the way ------------------------------------------------------------------


PARTS: dict[str, Any] = {"prior": "gaussian", "coupling": "condot", "model": "mlp:width=32,depth=1"}
PLAIN: dict[str, Any] = {"device": "cpu", "progress": False}


@pytest.mark.parametrize("constant", [False, True])
def test_points_have_the_variance_of_the_noise_and_the_velocity_is_its_derivative(
    constant: bool, generator: torch.Generator
) -> None:
    path, count = BridgePath(0.5, constant), 200_000
    x0, x1 = torch.tensor([1.0, -2.0]).repeat(2, count // 2).unbind()
    for time in (0.2, 0.5, 0.9):
        t = torch.full((count,), time)
        x, u, _ = path.interpolate(x0, x1, t, generator=generator)
        noise, change = x - (t * x1 + (1 - t) * x0), u - (x1 - x0)
        variance = 0.25 if constant else 0.25 * time * (1 - time)
        assert noise.var().item() == pytest.approx(variance, rel=0.02)
        derivative = 0.0 if constant else 0.25 * (1 - 2 * time)
        assert 2 * (noise * change).mean().item() == pytest.approx(derivative, abs=5e-3)


def test_a_bridge_begins_and_ends_without_noise(generator: torch.Generator) -> None:
    x0, x1 = torch.randn(2, 6, 3, generator=generator)
    for time, end in ((0.0, x0), (1.0, x1)):
        x, u, _ = BridgePath(1.0).interpolate(x0, x1, torch.full((6,), time))
        torch.testing.assert_close(x, end)
        assert u.isfinite().all()


def test_a_training_is_repeated_by_its_seed_and_the_noise_is_part_of_it() -> None:
    x = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
    paths = ("bridge:sigma=1", "bridge:sigma=1", "bridge:sigma=0", "condot")
    weights = [
        torch.cat([value.flatten() for value in flow.model.state_dict().values()])
        for flow in (train(x, path=path, steps=3, lr=0.1, **PARTS, **PLAIN) for path in paths)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert torch.equal(weights[2], weights[3]), "without noise it is the straight path"


def test_a_flow_on_a_bridge_reaches_its_data() -> None:
    """One Gaussian to another: the mean and the variance of the samples are those of the data."""
    x = 0.5 * torch.randn(2000, 1, generator=torch.Generator().manual_seed(0)) + 2
    flow = train(x, path="bridge:sigma=0.5", steps=600, lr=0.01, ema=0.99, **PARTS, **PLAIN)
    samples = flow.sample(n=2000, nfe=30, generator=torch.Generator().manual_seed(1))
    assert samples.mean().item() == pytest.approx(2, abs=0.06)
    assert samples.std().item() == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize(
    ("options", "sampler", "message"),
    [
        ({"prediction": "residual"}, None, "prediction 'residual' needs a path without noise"),
        ({"prediction": "preconditioned"}, None, "prediction 'preconditioned' needs a path without noise"),
        ({"prediction": "average-velocity"}, None, "needs a path without noise"),
        ({"prediction": "epsilon"}, None, "keeps a trace of the data sample"),
        ({}, "exponential", "sampler 'exponential' needs a path without noise"),
        ({}, "euler:start=0.3", "start=0.3 needs a path without noise"),
        ({}, "ddim", "sampler 'ddim' needs a path without noise"),
        ({"path": "bridge:sigma=-1"}, None, "expected sigma to be a number from 0"),
    ],
)
def test_what_needs_x0_and_x1_of_a_point_is_refused(
    options: dict[str, Any], sampler: str | None, message: str
) -> None:
    def sampled() -> None:
        flow = train((x, torch.arange(60) % 2), model="mlp:width=8,depth=1", steps=1, **PLAIN, **parts)
        assert flow.prediction == "velocity", "chosen, for the law holds on paths without noise"
        flow.sample(torch.zeros(4, dtype=torch.long), sampler=sampler)

    parts = {"prior": "latent-gmm:rank=1,components=1", "coupling": "posterior", "path": "bridge", **options}
    x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    with pytest.raises(OptionError, match=message):
        sampled()
