"""The velocity that reproduces a training set: formulas for few rows, regression on drawn pairs, digits."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from benchmarks.studies.closed_form import METRICS, TIMES, ClosedForm, errors, source_given_data, values
from flowprior import Coupling, Prior
from flowprior.conditions import Condition
from flowprior.data import Data, TensorData
from flowprior.flow import Flow
from flowprior.paths import Path
from flowprior.streams.data import Subset
from tests.benchmarks.studies.conftest import Still

SETTINGS = {
    "gaussian": "condot",
    "gmm": "condot",
    "gmm:covariance=spherical": "condot",
    "gmm:covariance=full": "condot",
    "gmm:covariance=lowrank,rank=1": "condot",
    "latent-gmm:rank=1": "posterior",
    "latent-gmm:rank=1,basis=shared": "posterior",
    "latent-gmm:rank=3": "posterior",
}
"""Prior -> coupling."""


def still_flow(prior: str, coupling: str, x: Tensor, labels: Tensor, path: str = "condot") -> Flow:
    """A flow that does not move, from a prior that is fitted to these data."""
    generator = torch.Generator().manual_seed(0)
    fitted = Prior.registry.resolve(prior).fit((x, labels), generator=generator)
    parts = Coupling.create(coupling), Path.create(path), Condition("labels", int(labels.max()) + 1)
    return Flow(Still(), fitted, *parts)


def closed_form(flow: Flow, x: Tensor, labels: Tensor, label: int) -> ClosedForm:
    source = source_given_data(flow, label)
    assert source is not None
    return ClosedForm(source, x[labels == label])


def points() -> tuple[Tensor, Tensor]:
    """Thirty correlated rows of either label in three dimensions."""
    generator = torch.Generator().manual_seed(1)
    mix = torch.tensor([[1.0, 0.5, 0.0], [0.0, 0.6, 0.4], [0.0, 0.0, 0.3]])
    labels = torch.arange(60) % 2
    return torch.randn(60, 3, generator=generator) @ mix + 2.0 * labels[:, None], labels


@pytest.mark.parametrize(("prior", "coupling"), SETTINGS.items())
def test_with_one_training_sample_it_is_the_velocity_of_the_pair(prior: str, coupling: str) -> None:
    x, labels = points()
    flow = still_flow(prior, coupling, x, labels)
    source = source_given_data(flow, 1)
    assert source is not None
    x1, cond = x[labels == 1][:1].expand(5, -1), torch.ones(5, dtype=torch.long)
    x0 = flow.coupling.draw(flow.prior, x1, cond, generator=torch.Generator().manual_seed(0))
    found = errors(flow, ClosedForm(source, x1[:1]), x0.double(), x1.double(), cond, 0.6)
    torch.testing.assert_close(found[:, 1], torch.zeros(5).double(), atol=1e-20, rtol=0)
    torch.testing.assert_close(found[:, [0, 2]], torch.ones(5, 2).double())


def test_with_two_training_samples_it_is_a_sigmoid_between_them() -> None:
    """w_a = σ(ℓ_a − ℓ_b) with ℓ_j = −(x − (1 − t) μ − t x_j)²/(2 (1 − t)² s²), for μ = 1, s² = 4 + 1e-6."""
    rows, labels, t = torch.tensor([[-1.0], [3.0]]), torch.zeros(2, dtype=torch.long), 0.3
    flow = still_flow("gmm", "condot", rows, labels)
    for x in (-2.0, 0.5, 4.0):
        a, b = (-((x - 0.7 - 0.3 * row) ** 2) / (2 * 0.49 * (4 + 1e-6)) for row in (-1, 3))
        share = 1 / (1 + math.exp(b - a))
        expected = (share * -1 + (1 - share) * 3 - x) / 0.7
        found = closed_form(flow, rows, labels, 0).velocity(torch.tensor([[x]]).double(), t)
        assert float(found) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("t", [0.1, 0.5])
@pytest.mark.parametrize(("prior", "coupling"), SETTINGS.items())
def test_what_it_leaves_of_drawn_pairs_has_no_regression_on_the_state(
    prior: str, coupling: str, t: float
) -> None:
    """E[u | x_t] leaves nothing that a function of x_t explains, of pairs as the coupling draws them.

    With coordinates that are scaled by 1.25 a moment lies 30 standard errors off.
    """
    x, labels = points()
    flow, generator = still_flow(prior, coupling, x, labels), torch.Generator().manual_seed(2)
    rows = x[labels == 0]
    x1 = rows[torch.randint(len(rows), (40_000,), generator=generator)]
    x0 = flow.coupling.draw(flow.prior, x1, torch.zeros(len(x1), dtype=torch.long), generator=generator)
    state = (1 - t) * x0.double() + t * x1.double()
    v = closed_form(flow, x, labels, 0).velocity(state, t)
    left = (x1 - x0).double() - v
    spread = state - state.mean(0)
    explaining = torch.cat([torch.ones(len(state), 1), spread, spread**2, spread**3, v, v.tanh()], 1)
    for own in left.T:
        moments = explaining * own[:, None]
        deviation = moments.std(0) / len(moments) ** 0.5
        assert (moments.mean(0).abs() / deviation).max() < 4.5


def test_unknown_pairs_have_no_closed_form() -> None:
    x, labels = points()
    assert source_given_data(still_flow("gmm:components=2", "condot", x, labels), 0) is None
    assert source_given_data(still_flow("gmm:components=2", "posterior", x, labels), 0) is None
    assert source_given_data(still_flow("gaussian", "ot", x, labels), 0) is None
    assert source_given_data(still_flow("gaussian", "condot", x, labels, path="vp"), 0) is None
    assert source_given_data(still_flow("latent-gmm:rank=2", "posterior", x[:32], labels[:32]), 0) is not None
    assert source_given_data(still_flow("latent-gmm:rank=2", "posterior", x[:30], labels[:30]), 0) is None


def table(flow: Flow, train: Data, test: Data, trainer: str = "") -> dict[tuple[str, str, float], float]:
    """The values by metric, split and time."""
    run = SimpleNamespace(seed=0, variant=SimpleNamespace(trainer=trainer))
    rows = values(flow, run, SimpleNamespace(train=train, test=test, validation=None))
    return {(row["metric"], row["split"], row["condition"]): row["value"] for row in rows}


@pytest.mark.parametrize(
    ("prior", "coupling"), [("gaussian", "condot"), ("latent-gmm:rank=8,components=2", "posterior")]
)
def test_on_digits_it_knows_the_training_data_and_not_the_test_data(
    prior: str, coupling: str, digits: tuple[Data, Data]
) -> None:
    train, test = digits
    assert isinstance(train, TensorData)
    assert isinstance(train.cond, Tensor)
    flow = still_flow(prior, coupling, train.x, train.cond)
    found = table(flow, train, Subset(test, torch.arange(5), "five of ten labels"))
    assert len(found) == len(METRICS) * 2 * len(TIMES)
    distance, residual, learned = METRICS
    assert found[residual, "train", 0.95] < 1e-3
    assert found[residual, "test", 0.95] > 1
    for split in ("train", "test"):  # the velocity of a still flow is 0
        assert all(found[learned, split, t] == pytest.approx(1) for t in TIMES)
    assert found[distance, "train", 0.95] == pytest.approx(1, abs=0.01)
    assert found[distance, "test", 0.95] != pytest.approx(1, abs=0.1)
    assert table(flow, train, test, "benchmarks.studies.peers:torchcfm_ot_within") == {}
