"""What a network is shown, and that training and sampling read its output alike."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from flowprior import Coupling, Flow, Path, Prior, train
from flowprior.data import TensorData
from flowprior.errors import InputError, OptionError
from flowprior.flow.predictions import Prediction
from flowprior.models import MLP
from flowprior.samplers.fixed import time_grid
from tests.couplings.gaussian_pairs import DIMS, FLOOR, RANK

PATHS = ["condot", "cosine", "vp"]


@pytest.mark.parametrize("name", Prediction.available())
def test_the_velocity_of_a_perfect_output_is_the_velocity(name, data, prior) -> None:
    """Whatever the network should say, training's target, is read back as u."""
    path = Path.create("vp" if name == "epsilon" else "condot")
    start = Prior.create("gaussian").fit((data.x, data.cond)) if name == "epsilon" else prior
    coupling = Coupling.create("condot" if name == "epsilon" else "posterior")
    x1, cond = data.x[:256].double(), data.cond[:256]
    generator = torch.Generator().manual_seed(1)
    x0 = coupling.draw(start, x1.float(), cond, generator=generator).double()
    t = 0.05 + 0.9 * torch.rand(256, generator=generator, dtype=torch.float64)
    x_t, u_t, _ = path.interpolate(x0, x1, t)
    prediction = Prediction.create(name, prior=start, coupling=coupling, path=path)
    view = prediction.view(x_t, t, prediction.given(cond, 256))
    said, target = prediction.regression(torch.ones_like(x_t), view, x0, u_t)
    perfect = target / said  # what the output has to be for the two to agree
    torch.testing.assert_close(prediction.velocity(perfect, view, x_t, t), u_t, rtol=1e-4, atol=1e-4)
    assert view.inputs.shape == (256, DIMS * prediction.inputs)


@pytest.mark.parametrize("coupling", ["condot", "posterior"])
@pytest.mark.parametrize("path", ["condot", "cosine"])
def test_a_preconditioned_network_sees_and_says_numbers_of_unit_spread(data, prior, coupling, path) -> None:
    paired, route = Coupling.create(coupling), Path.create(path)
    x0 = paired.draw(prior, data.x, data.cond, generator=torch.Generator().manual_seed(2))
    t = torch.rand(len(x0), generator=torch.Generator().manual_seed(3))
    x_t, u_t, _ = route.interpolate(x0, data.x, t)
    prediction = Prediction.create("preconditioned", prior=prior, coupling=paired, path=route)
    view = prediction.view(x_t, t, prediction.given(data.cond, len(t)))
    seen, standard, mean = view.inputs.chunk(3, dim=1)
    assert torch.equal(seen, x_t)
    assert view.offset is not None
    assert view.scale is not None
    assert bool((view.scale > 0).all())
    for label in (0, 1):
        of = data.cond == label
        torch.testing.assert_close(mean[of][0], data.x[of].mean(0), rtol=0, atol=1e-4)
        torch.testing.assert_close(standard[of].mean(0), torch.zeros(DIMS), rtol=0, atol=0.06)
        torch.testing.assert_close(standard[of].square().mean(), torch.tensor(1.0), rtol=0.03, atol=0)
        said = (u_t - view.offset)[of] / view.scale[of]
        torch.testing.assert_close(said.square().mean(), torch.tensor(1.0), rtol=0.03, atol=0)


class Told(nn.Module):
    """Gives numbers that depend on all that it is shown, and on the label, the null label included."""

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        assert cond is not None
        shown = x.view(len(x), -1, DIMS)
        weights = torch.arange(1, shown.shape[1] + 1, dtype=x.dtype)
        return torch.tanh((shown * weights[:, None]).sum(1) + cond[:, None] + t[:, None])


@pytest.mark.parametrize("prediction", ["velocity", "residual", "preconditioned"])
def test_a_flow_adds_offset_and_scale_to_what_its_network_says(prediction, data, prior) -> None:
    flow = Flow(Told(), prior, Coupling.create("posterior"), Path.create("condot"), data.condition,
                prediction=prediction)  # fmt: skip
    x, t, cond = data.x[:8], torch.linspace(0, 1, 8), data.cond[:8]
    view = flow.predicted.view(x, t, flow.predicted.given(cond, 8))
    expected = Told()(view.inputs, t, cond)
    if view.scale is not None:
        expected = view.scale * expected
    if view.offset is not None:
        expected = expected + view.offset
    assert torch.equal(flow.velocity(x, t, cond), expected)


@pytest.mark.parametrize("prediction", ["residual", "preconditioned"])
def test_pairs_without_a_known_law_are_refused(prediction, prior) -> None:
    with pytest.raises(OptionError, match=f"prediction '{prediction}' needs the Gaussian law of the pairs"):
        Prediction.create(prediction, prior=prior, coupling=Coupling.create("ot"), path=Path.create("condot"))


@pytest.mark.parametrize(
    ("prediction", "grid", "options"), [("velocity", "uniform", {}), ("preconditioned", "last", {"at": 0.7})]
)
def test_a_flow_samples_by_what_suits_its_prediction(prediction, grid, options, data, prior) -> None:
    flow = Flow(Told(), prior, Coupling.create("posterior"), Path.create("condot"), data.condition,
                prediction=prediction)  # fmt: skip
    labels = torch.tensor([0, 1])
    found = flow.solve(labels, nfe=5, trajectory=True, generator=torch.Generator().manual_seed(0))
    assert found.times.tolist() == pytest.approx(time_grid(5, grid, **options).tolist())
    asked = flow.solve(
        labels, nfe=5, sampler=flow.default_sampler, generator=torch.Generator().manual_seed(0)
    )
    assert torch.equal(found.x, asked.x)


class Nothing(nn.Module):
    """A network that has learnt nothing yet."""

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        return torch.zeros_like(x)


def residual_flow(data, prior) -> Flow:
    parts = prior, Coupling.create("posterior"), Path.create("condot"), data.condition
    return Flow(Nothing(), *parts, prediction="residual")


def test_without_a_network_one_step_takes_the_regularisation_away(data, prior) -> None:
    """At t = 0 the linear velocity leads to E[x1 | x0]: outside the subspace hardly any noise is left."""
    flow, labels = residual_flow(data, prior), torch.zeros(4000, dtype=torch.long)
    generator = torch.Generator().manual_seed(0)
    start, end = prior.sample(labels, generator=generator), flow.sample(labels, nfe=16, generator=generator)
    real = data.x[data.cond == 0]
    outside = torch.linalg.svd(torch.cov(real.T)).U[:, RANK:]
    left, there, wanted = ((x @ outside).var(0).mean() for x in (end, start, real))
    assert there > wanted + 0.8 * FLOOR
    assert left < wanted + 0.05 * FLOOR
    torch.testing.assert_close(end.mean(0), real.mean(0), rtol=0, atol=0.1)
    torch.testing.assert_close(torch.cov(end.T), torch.cov(real.T), rtol=0, atol=0.35)


def test_guidance_moves_the_linear_velocity_as_the_networks(data, prior) -> None:
    flow = residual_flow(data, prior)
    x, labels, t = data.x[:6], data.cond[:6], torch.full((6,), 0.4)
    guided, own = flow.velocity(x, t, labels, guidance=3.0), flow.velocity(x, t, labels)
    null = flow.coupling.law(prior, torch.full_like(labels, 2)).velocity(x, flow.path.at(t))
    torch.testing.assert_close(guided, null + 3 * (own - null))
    assert not torch.allclose(null, own, atol=0.1)
    torch.testing.assert_close(flow.velocity(x, t, labels, guidance=0.0), null)
    with pytest.raises(InputError, match=r"times \[B\], got \[6, 2\].*average_velocity"):
        flow.velocity(x, torch.stack([t, t], 1), labels)


@pytest.mark.parametrize(
    ("asked", "prediction"), [({}, "preconditioned"), ({"prediction": "residual"}, "residual")]
)
def test_a_flow_on_the_law_trains_saves_and_loads(data, tmp_path, asked, prediction) -> None:
    small = TensorData(data.x[:2000], data.cond[:2000], name="few")
    options = {**QUICK, "steps": 30, "condition_dropout": 0.3, **asked}
    flow = train(small, prior="latent-gmm:components=2,rank=2", seed=0, out=tmp_path / "run", **options)
    assert flow.prediction == flow.metadata["config"]["training"]["prediction"] == prediction
    labels, loaded = torch.tensor([0, 1, 1]), Flow.load(tmp_path / "run" / "flow")
    for guidance in (1.0, 2.0):
        drawn, again = (
            each.sample(labels, nfe=3, guidance=guidance, generator=torch.Generator().manual_seed(0))
            for each in (flow, loaded)
        )
        assert torch.equal(drawn, again)
    assert flow.log_prob(small.x[:4], small.cond[:4]).isfinite().all()
    assert loaded.double().sample(labels, nfe=3).dtype == torch.float64


QUICK = {"steps": 2, "batch_size": 16, "sample_every": 0, "model": "mlp:width=8", "warmup": 0}


def test_what_a_training_predicts_where_it_is_not_asked(data) -> None:
    """What the law leaves, of priors made for that; else the velocity."""
    small = TensorData(data.x[:200], data.cond[:200], name="few")
    latent = "latent-gmm:components=1,rank=2"
    assert train(small, prior=latent, condition_dropout=0.2, **QUICK).prediction == "preconditioned"
    assert train(small, prior=latent, coupling="ot", **QUICK).prediction == "velocity"
    assert train(small, prior="gmm", coupling="condot", **QUICK).prediction == "velocity"
    assert train(small, prior="kernel-mean", coupling="condot", **QUICK).prediction == "velocity"
    assert train(small, prior=latent, coupling="condot", **QUICK).prediction == "preconditioned"
    own = {**QUICK, "model": MLP(torch.Size([DIMS]), data.condition, width=8)}
    assert train(small, prior=latent, coupling="condot", **own).prediction == "residual"
    flow = train(small, prior="kernel-mean", coupling="condot", prediction="preconditioned", **QUICK)
    assert flow.sample(data.cond[:2], nfe=2).isfinite().all()
