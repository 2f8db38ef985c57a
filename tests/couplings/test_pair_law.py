"""The law of a pair is that of the pairs which the coupling draws, and gives the regression of u on x_t."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from flowprior import Coupling, Path, Prior
from flowprior.couplings.pair_law import PairLaw, PairVariances
from flowprior.data import TensorData
from flowprior.errors import OptionError
from flowprior.ops.operators import is_native
from flowprior.priors.residuals import FixedResiduals

from .gaussian_pairs import DIMS, RANK, exact_prior, gaussian_classes

LEFT = torch.tensor([0.3, 0.5, 1.0, 2.0])
"""Standard deviations of the data around their mean."""
AROUND_A_MEAN = ("kernel-mean:sigma=0.7", "kernel-mean:sigma=diagonal", "learned-mean:sigma=0.7,hidden=32")
PAIRS = 8_000
TIMES = (0.0, 0.3, 0.97)
COUPLINGS = ("condot", "posterior")
PATHS = ("condot:sigma_min=0.1", "cosine")


@pytest.fixture(scope="module")
def data() -> TensorData:
    return gaussian_classes(16_000)


@pytest.fixture(scope="module")
def prior(data: TensorData) -> Prior:
    return exact_prior(data)


@pytest.fixture(scope="module")
def three() -> TensorData:
    """Three labels far apart, around means alone."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(12_000) % 3
    means = 2 * torch.randn(3, 4, generator=generator)
    return TensorData(
        means[labels] + LEFT * torch.randn(12_000, 4, generator=generator), labels, name="three"
    )


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def fitted(spec: str, data: TensorData) -> Prior:
    return Prior.registry.resolve(spec).fit(data.batches(), generator=seeded(0))


def law_of(prior: Prior, coupling: str, cond: Tensor) -> PairLaw:
    law = Coupling.create(coupling).law(prior, cond)
    assert law is not None
    return law


def paired(
    prior: Prior, coupling: str, path: Path, data: TensorData, time: float
) -> tuple[Tensor, Tensor, Tensor]:
    """x_t, u_t and t of pairs that the coupling draws."""
    x0 = Coupling.create(coupling).draw(prior, data.x, data.cond, generator=seeded())
    x_t, u_t, t = path.interpolate(x0, data.x, torch.full((len(x0),), time))
    return x_t, u_t, t


def regressed(x: Tensor, u: Tensor) -> Tensor:
    """The least-squares fit of u by a linear function of x."""
    design = torch.cat([torch.ones(len(x), 1, dtype=x.dtype), x], 1)
    return design @ torch.linalg.lstsq(design, u).solution


@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize("spec", PATHS)
@pytest.mark.parametrize("time", TIMES)
def test_velocity_and_variances_are_those_of_the_pairs(data, prior, coupling, spec, time):
    path = Path.registry.resolve(spec)
    x_t, u_t, t = paired(prior, coupling, path, data, time)
    law, at = law_of(prior, coupling, data.cond), path.at(t)
    left = u_t - law.velocity(x_t, at)
    of_state, of_rest = law.variances(at)
    for label in (0, 1):
        of = data.cond == label
        best = (u_t[of].double() - regressed(x_t[of].double(), u_t[of].double())).square().mean()
        assert left[of].square().mean() < 1.005 * best
        torch.testing.assert_close(of_state[of][0], x_t[of].var(0), rtol=0.06, atol=0)
        torch.testing.assert_close(of_rest[of][0].mean(), left[of].var(0).mean(), rtol=0.03, atol=0)
        torch.testing.assert_close(of_rest[of][0], left[of].var(0), rtol=0.25, atol=0)


@pytest.fixture(scope="module", params=AROUND_A_MEAN)
def around_a_mean(request: pytest.FixtureRequest, three: TensorData) -> Prior:
    return fitted(request.param, three)


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("dropped", [False, True])
def test_without_axes_they_are_too_and_of_the_null_condition(three, around_a_mean, time, dropped):
    """With dropped conditions the source samples and data of all labels mix, and share their label's mean."""
    prior, path = around_a_mean, Path.create("condot")
    x_t, u_t, t = paired(prior, "condot", path, three, time)
    law = law_of(prior, "condot", torch.full_like(three.cond, 3) if dropped else three.cond)
    left = u_t - law.velocity(x_t, path.at(t))
    of_state, of_rest = (variance[0] for variance in law.variances(path.at(t)))
    deviation = x_t - law.mean(path.at(t))
    torch.testing.assert_close(of_state, deviation.square().mean(0), rtol=0.1, atol=0)
    torch.testing.assert_close(of_rest, left.square().mean(0), rtol=0.1, atol=0)


@pytest.mark.parametrize("basis", ["own", "shared"])
@pytest.mark.parametrize("time", TIMES)
def test_of_the_null_condition_it_is_nearly_the_regression_over_all_data(basis, time):
    """Two classes of one plane, whose means, far apart, x0 and x1 share: all data are of rank 3.

    The pooled fit's noise is not the labels', which alone gives the slope exactly.
    """
    data = gaussian_classes(40_000, planes=1)
    options = {"components": 1, "rank": RANK + 1, "reg_covar": 0.01, "shrinkage": 0.0, "basis": basis}
    prior, path = Prior.create("latent-gmm", **options).fit((data.x, data.cond)), Path.create("condot")
    x_t, u_t, t = paired(prior, "posterior", path, data, time)
    point, velocity = x_t.double(), u_t.double()
    best = (velocity - regressed(point, velocity)).square().mean()
    law = law_of(prior, "posterior", data.condition.null(data.cond))
    left = (velocity - law.velocity(x_t, path.at(t))).square().mean()
    whole = (velocity - velocity.mean(0)).square().mean()
    assert left < 1.15 * best
    assert whole - left > 0.6 * (whole - best) - 1e-3


def test_equal_variances_and_random_pairs_give_the_known_formula():
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    known = (2 * t - 1) / ((1 - t) ** 2 + t**2)
    found = PairVariances(1.0, 1.0, 0.0).slope(Path.create("condot").at(t))
    torch.testing.assert_close(found, known, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize(("spec", "count"), [("condot", 500), ("cosine", 500), ("vp", 500), ("condot", 12)])
def test_the_native_operator_gives_what_velocity_and_variances_do(coupling, spec, count, monkeypatch):
    """Also of labels with few examples, whose slope is another one."""
    data = gaussian_classes(count)
    path, law = Path.create(spec), law_of(exact_prior(data), coupling, data.cond)
    at = path.at(torch.linspace(0.0, 1.0, count))
    x = law.mean(at) + torch.randn(count, DIMS, generator=seeded(2))
    assert (law.frame.tables(x) is not None) == is_native(x.device)
    found = law.standardised(x, at)
    monkeypatch.setattr("flowprior.priors.frame.serves_values", lambda *tensors: False)
    assert law.frame.tables(x) is None
    for a, b in zip(found, law.standardised(x, at), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_the_velocity_has_derivatives_beside_the_native_operator(data, prior):
    law, at = law_of(prior, "posterior", data.cond[:4]), Path.create("condot").at(torch.full((4,), 0.4))
    x = data.x[:4].clone().requires_grad_()
    by_view, by_itself = (
        torch.autograd.grad(velocity.sum(), x)[0]
        for velocity in (law.standardised(x, at)[1], law.velocity(x, at))
    )
    torch.testing.assert_close(by_view, by_itself)
    direction = (data.x[:4],), (torch.ones(4, DIMS),)
    forward = torch.func.jvp(lambda y: law.standardised(y, at)[1], *direction)[1]
    torch.testing.assert_close(forward, torch.func.jvp(lambda y: law.velocity(y, at), *direction)[1])


# -- over an interval -------------------------------------------------------------------------------


@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize("spec", ["condot", "condot:sigma_min=0.1", "cosine"])
@pytest.mark.parametrize(("begin", "end"), [(0.0, 1.0), (0.3, 0.5)])
def test_the_average_leads_where_the_velocity_does(data, prior, coupling, spec, begin, end, even):
    """A hundred Heun steps; over a fifth of the time also beside a constant that is added to the velocity."""
    path, cond = Path.registry.resolve(spec), data.cond[:64]
    law, x0 = law_of(prior, coupling, cond), prior.sample(cond, generator=seeded(3))

    def places(*times: float) -> list:
        return [path.at(torch.full((64,), time)) for time in times]

    constants = [torch.zeros(DIMS), torch.linspace(-2, 3, DIMS)]
    for constant in constants[: 1 if end == 1 else 2]:
        x = x0
        for t, s in pairwise(torch.linspace(begin, end, 101).tolist()):
            here, there = places(t, s)
            first = law.velocity(x, here) + constant
            x = x + (s - t) * (first + law.velocity(x + (s - t) * first, there) + constant) / 2
        here, there = places(begin, end)
        v = law.velocity(x0, here) + constant if constant.any() else None
        found = x0 + (end - begin) * law.average(x0, here, there, v)
        tolerance = 1e-3 if v is None else 8e-3  # a chord is no straight line there
        assert float((found - x).norm()) < tolerance * float((x - x0).norm())


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_source_samples_carried_on_have_the_moments_of_the_pairs_there(data, prior, coupling):
    """To 0.6, on the path where means move; one step of Euler is far off."""
    time, path = 0.6, Path.create("cosine")
    points, _, t = paired(prior, coupling, path, data, time)
    x0 = prior.sample(data.cond, generator=seeded(4))
    law, here = law_of(prior, coupling, data.cond), path.at(torch.zeros(len(x0)))
    late = x0 + time * law.average(x0, here, path.at(t))
    stepped = x0 + time * law.velocity(x0, here)
    for label in (0, 1):
        of = data.cond == label
        expected, found, crude = ((y[of].mean(0), torch.cov(y[of].T)) for y in (points, late, stepped))
        torch.testing.assert_close(found[0], expected[0], rtol=0, atol=0.06)
        error, by_euler = (float((c[1] - expected[1]).norm() / expected[1].norm()) for c in (found, crude))
        assert error < 0.05
        assert by_euler > 1.3 * error


# -- which pairs have a law -------------------------------------------------------------------------


@pytest.mark.parametrize("coupling", Coupling.available())
def test_options_alone_say_whether_there_is_a_law(coupling):
    known = {
        "condot": {"kernel-mean", "latent-gmm", "learned-mean", "learned-mean:covariance=lowrank", "flow"},
        "posterior": {"latent-gmm", "learned-mean:covariance=lowrank", "flow"},
    }.get(coupling, set())
    specs = {*known, "gaussian", "gmm", "gmm:components=2", "kernel-mean"}
    paired = Coupling.create(coupling)
    assert {spec for spec in specs if paired.has_law(Prior.registry.resolve(spec))} == known
    if coupling not in ("condot", "posterior"):
        assert paired.law(Prior.create("latent-gmm"), None, 3) is None
    with pytest.raises(OptionError, match=f"this needs the Gaussian law .*'gmm' with coupling '{coupling}'"):
        paired.require_law(Prior.create("gmm"), "this", "nothing")


def test_a_file_without_the_datas_variances_loads(three: TensorData) -> None:
    """As ``kernel-mean`` was saved before its pairs had a law."""
    prior = fitted("kernel-mean", three)
    old = {name.replace("residuals.", "spread."): value for name, value in prior.state_dict().items()}
    loaded = Prior.create("kernel-mean")
    loaded.load_state_dict({k: v for k, v in old.items() if not k.endswith(("left", "total"))})
    cond = torch.tensor([0, 1, 2])
    torch.testing.assert_close(loaded.mean(cond), prior.mean(cond))
    assert isinstance(loaded.residuals, FixedResiduals)
    torch.testing.assert_close(loaded.residuals.noise, prior.residuals.noise)
