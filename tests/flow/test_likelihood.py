"""Log-likelihood against closed forms: exact to 1e-6 in float64, Hutchinson's unbiased."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from flowprior.errors import CouplingError, InputError, OptionError
from flowprior.flow.sampling import exact_divergence, hutchinson_divergence
from tests.gaussian_flow import ClassVelocity, GaussianVelocity, LinearVelocity, flow_of

TIGHT = {"rtol": 1e-9, "atol": 1e-9}


def normal(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    return torch.distributions.Normal(mean, std).log_prob(x).flatten(1).sum(1)


def test_gaussian_to_gaussian() -> None:
    """The exact velocity between two Gaussians has the target's density as its likelihood."""
    flow = flow_of(lambda x, t, c: x, (1, 2, 2), prior="gaussian:moments=diagonal")
    end = (torch.full((1, 2, 2), -2.0).double(), torch.tensor([0.5, 3.0]).double().expand(1, 2, 2))
    start = (flow.prior.loc.view(1, 2, 2), flow.prior.var.sqrt().view(1, 2, 2))  # type: ignore[union-attr]
    flow.model = GaussianVelocity(start, end)
    x = end[0] + end[1] * torch.randn(6, 1, 2, 2, dtype=torch.float64)
    log_prob = flow.log_prob(x, **TIGHT)
    assert log_prob.dtype == torch.float64
    torch.testing.assert_close(log_prob, normal(x, *end), rtol=0, atol=1e-6)
    x, log_prob = flow.sample_and_log_prob(n=6, generator=torch.Generator().manual_seed(0), **TIGHT)
    x0 = flow.prior.sample(n=6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(x, end[0] + end[1] * (x0 - start[0]) / start[1], rtol=0, atol=1e-6)
    torch.testing.assert_close(log_prob, normal(x, *end), rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", ["dopri5", "dopri8", "bosh3"])
def test_linear_flow(method: str) -> None:
    model = LinearVelocity(4)
    x = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    flow = flow_of(model, (4,))
    expected = normal(model.start_of(x), torch.zeros(4), torch.ones(4)) - model.matrix.trace().detach()
    options, error = ({"rtol": 1e-8, "atol": 1e-8}, 2e-5) if method == "bosh3" else (TIGHT, 1e-6)
    torch.testing.assert_close(flow.log_prob(x, method=method, **options), expected, rtol=0, atol=error)
    x0 = flow.invert(x, method=method, **options)
    torch.testing.assert_close(x0, model.start_of(x), rtol=0, atol=error)
    torch.testing.assert_close(flow.sample(x0=x0, sampler="dopri5"), x, rtol=0, atol=1e-4)


@pytest.mark.parametrize("divergence", ["exact", "hutchinson"])
def test_its_gradient_is_that_of_finite_differences(divergence: str) -> None:
    model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2)).double().requires_grad_(False)
    flow = flow_of(lambda x, t, c: model(x) + t[:, None] * x, (2,))
    x = torch.randn(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)

    def density(x: Tensor) -> Tensor:
        seeded = torch.Generator().manual_seed(1)
        return flow.log_prob(x, divergence=divergence, probes=2, generator=seeded, **TIGHT)

    assert torch.autograd.gradcheck(density, (x,), eps=1e-5, atol=1e-5)
    assert not density(x.detach()).requires_grad


@pytest.mark.parametrize("coupling", ["condot", "independent"])
@pytest.mark.parametrize("divergence", ["exact", "hutchinson"])
def test_samples_come_with_their_density_in_one_solve(coupling: str, divergence: str) -> None:
    """It is that of ``log_prob``, with the same probes, and the samples are those of ``sample``."""
    layers, calls = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 3)).double(), []

    def velocity(x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        calls.append(len(x))
        return layers(x) + t[:, None] * x - cond[:, None]

    flow, labels = flow_of(velocity, prior="gmm", coupling=coupling, classes=3), torch.arange(5) % 3
    probed = {"divergence": divergence, "probes": 2, "guidance": 1.5, "rtol": 1e-7, "atol": 1e-7}
    seeded = partial(torch.Generator().manual_seed, 0)
    x0 = flow.sample(labels, nfe=0, generator=seeded())
    x, log_prob = flow.sample_and_log_prob(labels, x0=x0, generator=seeded(), **probed)  # type: ignore[arg-type]
    spent = len(calls)
    again = flow.log_prob(x, labels, generator=seeded(), **probed)  # type: ignore[arg-type]
    torch.testing.assert_close(log_prob, again, rtol=1e-4, atol=0)
    assert spent < 1.5 * (len(calls) - spent)
    x1 = flow.sample(labels, sampler="dopri5:rtol=1e-7,atol=1e-7", guidance=1.5, generator=seeded())
    parts = flow.sample_and_log_prob(labels, batch_size=2, generator=seeded(), **probed)[0]  # type: ignore[arg-type]
    torch.testing.assert_close(x, x1, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(x, parts, rtol=1e-5, atol=1e-5)
    assert not log_prob.requires_grad
    assert flow.sample_and_log_prob(labels, x0=x0.requires_grad_(), **probed)[1].requires_grad  # type: ignore[arg-type]


def test_samples_with_a_density_are_refused_before_a_solve() -> None:
    def no_evaluation(*_: object) -> Tensor:
        raise AssertionError

    def no_density(*_: object) -> Tensor:
        raise CouplingError("no density")

    flow, x0 = flow_of(no_evaluation), torch.zeros(2, 3).double()
    with pytest.raises(InputError, match=r"flow.sample_and_log_prob: expected finite x0 of shape \[2, 3\]"):
        flow.sample_and_log_prob(x0=x0[:, :2])
    with pytest.raises(OptionError, match=r"flow.sample_and_log_prob: method='rk4' is not possible"):
        flow.sample_and_log_prob(n=2, method="rk4")
    flow.coupling.source_log_prob = no_density  # type: ignore[method-assign]
    with pytest.raises(CouplingError, match="no density"):
        flow.sample_and_log_prob(x0=x0)


def test_one_condition_serves_all_rows() -> None:
    flow = flow_of(ClassVelocity(3, 3).double().eval(), classes=3)
    x = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    one, each = (flow.log_prob(x, torch.full((n,), 2), **TIGHT) for n in (1, 4))
    assert torch.equal(one, each)
    with pytest.raises(InputError, match="one condition for each of 4 samples, got 2"):
        flow.log_prob(x, torch.zeros(2, dtype=torch.long))


def test_float32_stays_float32_and_is_close() -> None:
    model = LinearVelocity(4, torch.float32)
    flow, x = flow_of(model, (4,), dtype=torch.float32), torch.randn(5, 4)
    expected = normal(model.start_of(x), torch.zeros(4), torch.ones(4)) - model.matrix.trace().detach()
    log_prob = flow.log_prob(x)
    assert log_prob.dtype == torch.float32
    torch.testing.assert_close(log_prob, expected, rtol=1e-4, atol=1e-3)


def test_hutchinson_is_unbiased() -> None:
    """4,000 probes of one datum: their mean within 4 standard errors of the exact value (false alarm 6e-5).

    For a linear flow the estimate is εᵀAε, of variance Σ_{i<j} (A_ij + A_ji)².
    """
    model = LinearVelocity(4)
    flow, x = flow_of(model, (4,)), torch.randn(1, 4, dtype=torch.float64)
    exact = flow.log_prob(x, **TIGHT)
    estimates = flow.log_prob(
        x.expand(4000, 4),
        divergence="hutchinson",
        generator=torch.Generator().manual_seed(0),
        rtol=1e-7,
        atol=1e-7,
    )
    symmetric = (model.matrix + model.matrix.T).detach().triu(1)
    variance = float(symmetric.square().sum())
    assert float(estimates.var()) == pytest.approx(variance, rel=0.15)
    assert abs(float(estimates.mean() - exact)) < 4 * (variance / 4000) ** 0.5
    again, other = (
        flow.log_prob(x.expand(3, 4), divergence="hutchinson", generator=torch.Generator().manual_seed(seed))
        for seed in (0, 1)
    )
    assert not torch.equal(again, other)
    same = torch.Generator().manual_seed(0)
    torch.testing.assert_close(
        flow.log_prob(x.expand(3, 4), divergence="hutchinson", generator=same), again, rtol=0, atol=0
    )


def test_divergences_of_a_nonlinear_field_against_its_jacobian() -> None:
    def field(x: Tensor) -> Tensor:
        return torch.stack([x[:, 0] * x[:, 1], x[:, 1].sin() + x[:, 0], x[:, 2].exp()], 1)

    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda row: field(row[None])[0]))(x.detach())
    trace = jacobian.diagonal(dim1=1, dim2=2).sum(1)
    torch.testing.assert_close(exact_divergence(x, field(x)), trace)
    probes = torch.randn(2, 4, 3, dtype=torch.float64)
    expected = torch.einsum("pbi,bij,pbj->pb", probes, jacobian, probes).mean(0)
    torch.testing.assert_close(hutchinson_divergence(probes)(x, field(x)), expected)


def test_a_velocity_that_does_not_depend_on_x_has_no_divergence() -> None:
    shift = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    flow, x = flow_of(lambda x, t, c: shift.expand_as(x)), torch.randn(4, 3, dtype=torch.float64)
    expected = normal(x - shift, torch.zeros(3), torch.ones(3))
    for divergence in ("exact", "hutchinson"):
        torch.testing.assert_close(flow.log_prob(x, divergence=divergence), expected)


@pytest.mark.parametrize("coupling", ["condot", "ot", "independent", "posterior"])
def test_the_start_is_scored_by_the_law_of_the_coupling(coupling: str) -> None:
    flow = flow_of(
        lambda x, t, c: torch.zeros_like(x), prior="gmm:components=2", coupling=coupling, classes=2
    )
    x, labels = torch.randn(6, 3, dtype=torch.float64), torch.arange(6) % 2
    marginal = coupling == "independent"
    expected = flow.prior.log_prob_marginal(x) if marginal else flow.prior.log_prob(x, labels)
    torch.testing.assert_close(flow.log_prob(x, labels), expected)


def test_batches_give_the_same() -> None:
    model = LinearVelocity(3)
    flow, x = flow_of(model), torch.randn(7, 3, dtype=torch.float64)
    whole = flow.log_prob(x, **TIGHT)
    assert not whole.requires_grad
    assert model.matrix.grad is None
    torch.testing.assert_close(flow.log_prob(x, batch_size=3, **TIGHT), whole, rtol=1e-7, atol=1e-7)
    assert flow.log_prob(x[:0]).shape == (0,)


def test_samples_have_the_density_that_is_reported() -> None:
    """E[log p1(x)] over 4,000 samples is minus the entropy, within 5 standard errors."""
    model = LinearVelocity(3)
    flow = flow_of(model)
    x = flow.sample(n=4000, sampler="dopri5", generator=torch.Generator().manual_seed(0))
    log_prob = flow.log_prob(x)
    entropy = 1.5 * (1 + torch.log(torch.tensor(2 * torch.pi))) + model.matrix.trace().detach()
    assert abs(float(log_prob.mean() + entropy)) < 5 * float(log_prob.std()) / 4000**0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"divergence": "approximate"}, "divergence='approximate' is not possible"),
        ({"method": "rk4"}, "method='rk4' is not possible"),
        ({"probes": 0}, "probes=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"max_nfe": 5}, "log_prob with dopri5: spent max_nfe=5"),
        ({"guidance": 2.0}, "guidance=2 needs a condition"),
    ],
)
def test_impossible_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        flow_of(LinearVelocity(3)).log_prob(torch.randn(2, 3, dtype=torch.float64), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("x", [torch.zeros(2, 4).double(), torch.zeros(2, 3), torch.zeros(2, 3).long()])
def test_data_that_do_not_fit(x: Tensor) -> None:
    with pytest.raises(
        InputError, match=r"expected x of shape \[B, 3\] and torch.float64, got .*flow.double\(\)"
    ):
        flow_of(LinearVelocity(3)).log_prob(x)
