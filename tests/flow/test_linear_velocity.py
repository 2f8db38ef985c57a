"""The linear velocity is the regression of the pairs' velocity on their point, and a flow can stand on it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from flowprior import Coupling, Flow, Path, Prior, train
from flowprior.data import TensorData
from flowprior.errors import OptionError
from flowprior.flow.linear_velocity import LinearVelocity
from flowprior.flow.pair_moments import PairMoments, slope_of_velocity
from flowprior.models import MLP
from flowprior.ops.operators import is_native

from .two_classes import DIMS, FLOOR, RANK, exact_prior, gaussian_classes


@pytest.fixture(scope="module")
def data() -> TensorData:
    return gaussian_classes(16_000)


@pytest.fixture(scope="module")
def prior(data: TensorData) -> Prior:
    return exact_prior(data)


def regressed(x: Tensor, u: Tensor) -> Tensor:
    """The least-squares fit of u by a linear function of x."""
    design = torch.cat([torch.ones(len(x), 1, dtype=x.dtype), x], 1)
    return design @ torch.linalg.lstsq(design, u).solution


@pytest.mark.parametrize("coupling", ["condot", "posterior"])
@pytest.mark.parametrize("path", ["condot", "condot:sigma_min=0.1", "cosine"])
@pytest.mark.parametrize("time", [0.0, 0.3, 0.8, 0.97])
def test_it_is_the_regression_of_the_velocity_on_the_point(data, prior, coupling, path, time):
    paired, route = Coupling.create(coupling), Path.registry.resolve(path)
    linear = LinearVelocity(prior, paired, route)
    x0 = paired.draw(prior, data.x, data.cond, generator=torch.Generator().manual_seed(1))
    t = torch.full((len(x0),), time)
    x_t, u_t, _ = route.interpolate(x0, data.x, t)
    for label in (0, 1):
        of = data.cond == label
        point, velocity = x_t[of].double(), u_t[of].double()
        best = (velocity - regressed(point, velocity)).square().mean()
        left = (velocity - linear(x_t[of], t[of], data.cond[of])).square().mean()
        assert left < 1.005 * best


@pytest.mark.parametrize("coupling", ["condot", "posterior"])
@pytest.mark.parametrize("path", ["condot", "condot:sigma_min=0.1", "cosine"])
@pytest.mark.parametrize("time", [0.0, 0.3, 0.8, 0.97])
def test_variances_of_the_point_and_of_what_is_left_are_those_of_the_pairs(data, prior, coupling, path, time):
    paired, route = Coupling.create(coupling), Path.registry.resolve(path)
    x0 = paired.draw(prior, data.x, data.cond, generator=torch.Generator().manual_seed(1))
    t = torch.full((len(x0),), time)
    x_t, u_t, _ = route.interpolate(x0, data.x, t)
    moments = PairMoments.at(prior, paired, route, t, data.cond)
    left = u_t - moments.velocity(x_t)
    for label in (0, 1):
        of = data.cond == label
        torch.testing.assert_close(moments.variances()[0][of][0], x_t[of].var(0), rtol=0.06, atol=0)
        found = moments.variances()[1][of][0]
        torch.testing.assert_close(found.mean(), left[of].var(0).mean(), rtol=0.03, atol=0)
        torch.testing.assert_close(found, left[of].var(0), rtol=0.25, atol=0)


@pytest.mark.parametrize("coupling", ["condot", "posterior"])
@pytest.mark.parametrize("path", ["condot", "condot:sigma_min=0.1", "cosine", "vp"])
def test_the_native_operator_gives_what_velocity_and_variances_do(data, prior, coupling, path, monkeypatch):
    paired, route = Coupling.create(coupling), Path.registry.resolve(path)
    t = torch.linspace(0.0, 1.0, 500)
    moments = PairMoments.at(prior, paired, route, t, data.cond[:500])
    x = moments.mean + torch.randn(500, DIMS, generator=torch.Generator().manual_seed(2))
    assert (moments.frame.tables(x) is not None) == is_native(x.device)
    found = moments.standardised(x)
    monkeypatch.setattr("flowprior.priors.frame.serves_values", lambda *tensors: False)
    assert moments.frame.tables(x) is None
    for a, b in zip(found, moments.standardised(x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_few_examples_have_the_same_slope_in_the_native_operator(monkeypatch):
    few = gaussian_classes(12)
    moments = PairMoments.at(
        exact_prior(few), Coupling.create("posterior"), Path.create("condot"), torch.rand(12), few.cond
    )
    assert moments.frame.given is not None
    found = moments.standardised(few.x)
    monkeypatch.setattr("flowprior.priors.frame.serves_values", lambda *tensors: False)
    for a, b in zip(found, moments.standardised(few.x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_the_linear_velocity_has_derivatives_beside_the_native_operator(data, prior):
    t = torch.full((4,), 0.4)
    moments = PairMoments.at(prior, Coupling.create("posterior"), Path.create("condot"), t, data.cond[:4])
    x = data.x[:4].clone().requires_grad_()
    by_view, by_itself = (
        torch.autograd.grad(velocity.sum(), x)[0]
        for velocity in (moments.standardised(x)[1], moments.velocity(x))
    )
    torch.testing.assert_close(by_view, by_itself)
    forward = torch.func.jvp(lambda y: moments.standardised(y)[1], (data.x[:4],), (torch.ones(4, DIMS),))[1]
    backward = torch.func.jvp(moments.velocity, (data.x[:4],), (torch.ones(4, DIMS),))[1]
    torch.testing.assert_close(forward, backward)


def test_equal_moments_and_random_pairs_give_the_known_formula():
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    known = (2 * t - 1) / ((1 - t) ** 2 + t**2)
    found = slope_of_velocity(Path.create("condot").coefficients(t))
    torch.testing.assert_close(found, known, rtol=1e-12, atol=1e-12)


def test_without_a_network_one_step_takes_the_floor_away(data, prior):
    """At t = 0 the linear velocity leads to E[x1 | x0]: outside the subspace hardly any noise is left."""
    flow = Flow(Nothing(), prior, Coupling.create("posterior"), Path.create("condot"), data.condition,
                prediction="residual")  # fmt: skip
    labels = torch.zeros(4000, dtype=torch.long)
    generator = torch.Generator().manual_seed(0)
    start, end = prior.sample(labels, generator=generator), flow.sample(labels, nfe=16, generator=generator)
    real = data.x[data.cond == 0]
    outside = torch.linalg.svd(torch.cov(real.T)).U[:, RANK:]
    left, there, wanted = ((x @ outside).var(0).mean() for x in (end, start, real))
    assert there > wanted + 0.8 * FLOOR
    assert left < wanted + 0.05 * FLOOR
    torch.testing.assert_close(end.mean(0), real.mean(0), rtol=0, atol=0.1)
    torch.testing.assert_close(torch.cov(end.T), torch.cov(real.T), rtol=0, atol=0.35)


class Nothing(nn.Module):
    """A network that has learnt nothing yet."""

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        return torch.zeros_like(x)


@pytest.mark.parametrize(
    ("asked", "prediction"), [({}, "preconditioned"), ({"prediction": "residual"}, "residual")]
)
def test_a_flow_on_it_trains_saves_and_loads(data, tmp_path, asked, prediction):
    small = TensorData(data.x[:2000], data.cond[:2000], name="few")
    options = {"steps": 30, "batch_size": 64, "sample_every": 0, "model": "mlp:width=16", **asked}
    flow = train(small, prior="latent-gmm:components=2,rank=2", seed=0, out=tmp_path / "run", **options)
    assert flow.prediction == prediction
    assert flow.metadata["config"]["training"]["prediction"] == prediction
    labels = torch.tensor([0, 1, 1])
    drawn = flow.sample(labels, nfe=3, generator=torch.Generator().manual_seed(0))
    again = Flow.load(tmp_path / "run" / "flow").sample(
        labels, nfe=3, generator=torch.Generator().manual_seed(0)
    )
    assert torch.equal(drawn, again)
    scored = flow.log_prob(small.x[:4], small.cond[:4])
    assert scored.isfinite().all()
    double = Flow.load(tmp_path / "run" / "flow").double()
    assert double.sample(labels, nfe=3).dtype == torch.float64


def test_unknown_moments_fall_back_to_the_velocity(data):
    small = TensorData(data.x[:200], data.cond[:200], name="few")
    options = {"steps": 2, "batch_size": 16, "sample_every": 0, "model": "mlp:width=8", "warmup": 0}
    latent = "latent-gmm:components=1,rank=2"
    assert train(small, prior=latent, condition_dropout=0.2, **options).prediction == "preconditioned"
    assert train(small, prior=latent, coupling="ot", **options).prediction == "velocity"
    assert train(small, prior="gmm", coupling="condot", **options).prediction == "velocity"
    assert train(small, prior=latent, coupling="condot", **options).prediction == "preconditioned"
    own = {**options, "model": MLP(torch.Size([DIMS]), data.condition, width=8)}
    assert train(small, prior=latent, coupling="condot", **own).prediction == "residual"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prior": "gmm", "coupling": "condot"}, "needs the moments of the pairs.*'gmm'.*'condot'"),
        ({"prior": "latent-gmm", "coupling": "ot"}, "needs the moments of the pairs.*'latent-gmm'.*'ot'"),
    ],
)
def test_what_has_no_linear_velocity_is_refused(data, options, message):
    small = TensorData(data.x[:200], data.cond[:200], name="few")
    with pytest.raises(OptionError, match=message):
        train(small, prediction="residual", steps=2, model="mlp:width=8", **options)


@pytest.mark.parametrize("basis", ["own", "shared"])
@pytest.mark.parametrize("time", [0.0, 0.5, 0.97])
def test_of_the_null_condition_it_is_the_regression_over_all_data(basis, time):
    """Two classes of one plane, whose means, far apart, x0 and x1 share: all data are of rank 3.

    The pooled fit's noise is not the labels', which alone gives the slope exactly.
    """
    data = gaussian_classes(40_000, planes=1)
    options = {"components": 1, "rank": RANK + 1, "reg_covar": 0.01, "shrinkage": 0.0, "basis": basis}
    prior = Prior.create("latent-gmm", **options).fit((data.x, data.cond))
    paired, route = Coupling.create("posterior"), Path.create("condot")
    x0 = paired.draw(prior, data.x, data.cond, generator=torch.Generator().manual_seed(1))
    t = torch.full((len(x0),), time)
    x_t, u_t, _ = route.interpolate(x0, data.x, t)
    null = data.condition.null(data.cond)
    point, velocity = x_t.double(), u_t.double()
    best = (velocity - regressed(point, velocity)).square().mean()
    left = (velocity - LinearVelocity(prior, paired, route)(x_t, t, null)).square().mean()
    whole = (velocity - velocity.mean(0)).square().mean()
    assert left < 1.15 * best
    assert whole - left > 0.6 * (whole - best) - 1e-3


def test_guidance_moves_the_linear_velocity_as_the_networks(data, prior):
    flow = Flow(Nothing(), prior, Coupling.create("posterior"), Path.create("condot"), data.condition,
                prediction="residual")  # fmt: skip
    x, labels, t = data.x[:6], data.cond[:6], torch.full((6,), 0.4)
    guided, own = flow.velocity(x, t, labels, guidance=3.0), flow.velocity(x, t, labels)
    null = LinearVelocity(prior, flow.coupling, flow.path)(x, t, torch.full_like(labels, 2))
    torch.testing.assert_close(guided, null + 3 * (own - null))
    assert not torch.allclose(null, own, atol=0.1)
    torch.testing.assert_close(flow.velocity(x, t, labels, guidance=0.0), null)


def test_a_flow_of_dropped_conditions_is_guided(data):
    small = TensorData(data.x[:400], data.cond[:400], name="few")
    options = {"steps": 10, "batch_size": 32, "sample_every": 0, "model": "mlp:width=8", "warmup": 0}
    flow = train(small, prior="latent-gmm:components=1,rank=2", condition_dropout=0.3, **options)
    assert flow.prediction == "preconditioned"
    assert flow.sample(torch.tensor([0, 1]), nfe=3, guidance=2.0).isfinite().all()
