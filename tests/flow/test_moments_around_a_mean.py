"""Priors that are a mean with noise around it tell the moments of their random pairs, too."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowprior import Coupling, Path, Prior, train
from flowprior.data import TensorData
from flowprior.errors import FlowpriorError
from flowprior.flow.linear_velocity import LinearVelocity
from flowprior.flow.pair_moments import PairMoments, are_known
from flowprior.priors.residuals import FixedResiduals

LEFT = torch.tensor([0.3, 0.5, 1.0, 2.0])
"""Standard deviations of the data around their mean."""
PRIORS = ("kernel-mean:sigma=0.7", "kernel-mean:sigma=diagonal", "learned-mean:sigma=0.7,hidden=32")


@pytest.fixture(scope="module")
def data() -> TensorData:
    """Three labels far apart."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(12_000) % 3
    means = 2 * torch.randn(3, 4, generator=generator)
    return TensorData(
        means[labels] + LEFT * torch.randn(12_000, 4, generator=generator), labels, name="three"
    )


@pytest.fixture(scope="module", params=PRIORS)
def prior(data: TensorData, request: pytest.FixtureRequest) -> Prior:
    return Prior.registry.resolve(request.param).fit(
        data.batches(), generator=torch.Generator().manual_seed(0)
    )


def pairs(prior: Prior, data: TensorData, time: float) -> tuple[Tensor, Tensor, Tensor]:
    """x_t, u and t of random pairs within each condition."""
    x0 = Coupling.create("condot").draw(prior, data.x, data.cond, generator=torch.Generator().manual_seed(1))
    t = torch.full((len(x0),), time)
    x_t, u_t, _ = Path.create("condot").interpolate(x0, data.x, t)
    return x_t, u_t, t


@pytest.mark.parametrize("time", [0.0, 0.4, 0.9])
@pytest.mark.parametrize("dropped", [False, True])
def test_the_moments_are_those_of_the_pairs(
    prior: Prior, data: TensorData, time: float, dropped: bool
) -> None:
    """With dropped conditions the source samples and data of all labels mix, and share their label's mean."""
    cond = torch.full_like(data.cond, 3) if dropped else data.cond
    x_t, u_t, t = pairs(prior, data, time)
    moments = PairMoments.at(prior, Coupling.create("condot"), Path.create("condot"), t, cond)
    left = u_t - moments.velocity(x_t)
    of_state, unsaid = (variance[0] for variance in moments.variances())
    torch.testing.assert_close(of_state, (x_t - moments.mean).square().mean(0), rtol=0.1, atol=0)
    torch.testing.assert_close(unsaid, left.square().mean(0), rtol=0.1, atol=0)


def test_the_linear_velocity_is_the_regression_on_the_point(prior: Prior, data: TensorData) -> None:
    x_t, u_t, t = pairs(prior, data, 0.6)
    linear = LinearVelocity(prior, Coupling.create("condot"), Path.create("condot"))
    for label in range(3):
        own = data.cond == label
        point, velocity = x_t[own], u_t[own]
        deviation = point - point.mean(0)
        slope = (deviation * velocity).mean(0) / deviation.square().mean(0)
        best = (velocity - velocity.mean(0) - slope * deviation).square().mean()
        assert (velocity - linear(point, t[own], data.cond[own])).square().mean() < 1.01 * best


def test_an_embedding_that_is_far_has_a_wider_spread_of_both(generator: torch.Generator) -> None:
    cond = torch.randn(600, 2, generator=generator)
    x = cond @ torch.randn(2, 4, generator=generator) + 0.3 * torch.randn(600, 4, generator=generator)
    prior = Prior.create("kernel-mean").fit((x, cond), generator=generator)
    near, far = prior.frame(cond[:1], 1), prior.frame(cond[:1] + 50, 1)
    assert (far.noise > near.noise).all()
    torch.testing.assert_close(far.datum, near.datum, msg="in units of the source samples' variance")


def test_what_follows_for_a_training(data: TensorData) -> None:
    options = {"model": "mlp:width=16", "steps": 4, "batch_size": 32, "warmup": 1, "condition_dropout": 0.3}
    random_pairs = {"prior": "kernel-mean:sigma=0.5", "coupling": "condot"}
    assert train(data, **random_pairs, **options).prediction == "velocity", "what is not asked for stays"
    flow = train(data, **random_pairs, prediction="preconditioned", **options)
    assert flow.prediction == "preconditioned"
    assert flow.sample(torch.tensor([0, 1]), nfe=2).isfinite().all()
    assert flow.sample(torch.tensor([0, 1]), nfe=2, guidance=1.5).isfinite().all()
    for name in ("learned-mean:latent=1", "learned-mean:covariance=lowrank", "gaussian"):
        known = are_known(Prior.registry.resolve(name), Coupling.create("condot"))
        assert known == name.endswith("lowrank"), name
    for coupling, words in {"ot": "does not tell", "posterior": "latent"}.items():
        with pytest.raises(FlowpriorError, match=words):
            train(data, prior="kernel-mean", coupling=coupling, prediction="residual", **options)


def test_a_file_without_the_datas_variances_loads(data: TensorData) -> None:
    """As priors were saved before they told moments."""
    fitted = Prior.create("kernel-mean").fit(data.batches())
    state = {
        name: value for name, value in fitted.state_dict().items() if not name.endswith(("left", "total"))
    }
    loaded = Prior.create("kernel-mean")
    loaded.load_state_dict(state)
    cond = torch.tensor([0, 1, 2])
    torch.testing.assert_close(loaded.mean(cond), fitted.mean(cond))
    assert isinstance(loaded.spread, FixedResiduals)
