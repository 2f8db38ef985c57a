"""What a network is shown, and that training and sampling read its output alike."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from flowprior import Coupling, Flow, Path, Prior
from flowprior.errors import OptionError
from flowprior.flow.predictions import Prediction, make_prediction
from flowprior.samplers import time_grid

from .two_classes import DIMS

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
    prediction = make_prediction(name, start, coupling, path)
    view = prediction.view(x_t, t, cond)
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
    view = make_prediction("preconditioned", prior, paired, route).view(x_t, t, data.cond)
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
    view = flow.predicted.view(x, t, cond)
    expected = Told()(view.inputs, t, cond)
    if view.scale is not None:
        expected = view.scale * expected
    if view.offset is not None:
        expected = expected + view.offset
    assert torch.equal(flow.velocity(x, t, cond), expected)


@pytest.mark.parametrize("prediction", ["residual", "preconditioned"])
def test_pairs_without_known_moments_are_refused(prediction, prior) -> None:
    with pytest.raises(OptionError, match="needs the moments of the pairs"):
        make_prediction(prediction, prior, Coupling.create("ot"), Path.create("condot"))


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
