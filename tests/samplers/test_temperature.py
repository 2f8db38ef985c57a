"""Temperature: how far from the prior's mean a sampler starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from flowprior.conditions import Condition
from flowprior.couplings import Coupling
from flowprior.data import TensorData
from flowprior.errors import CouplingError, OptionError
from flowprior.evaluation import evaluate
from flowprior.flow import Flow
from flowprior.registry import Registry
from flowprior.registry.registry import spec_of
from flowprior.samplers import Sampler
from flowprior.samplers.fixed import Euler
from tests.gaussian_flow import ClassVelocity, GaussianVelocity, flow_of

LABELS = torch.arange(12) % 3


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def class_flow() -> Flow:
    torch.manual_seed(0)
    return flow_of(ClassVelocity(3, 3), prior="gmm", classes=3, dtype=torch.float32)


def gaussian_flow() -> tuple[Flow, tuple[Tensor, Tensor]]:
    """From N(0, I) to N(end), whose map is m1 + s1 x0."""
    start = (torch.zeros(2).double(), torch.ones(2).double())
    end = (torch.tensor([1.0, -2.0]).double(), torch.tensor([0.5, 3.0]).double())
    return flow_of(GaussianVelocity(start, end), (2,)), end


@pytest.mark.parametrize("option", ["temperature", "prior_guidance"])
@pytest.mark.parametrize("wrong", [-0.1, float("nan"), float("inf"), True, "cold"])
def test_impossible_temperatures_and_strengths_are_refused(option: str, wrong: Any) -> None:
    for attempt in (
        lambda: Sampler.create("euler", **{option: wrong}),
        lambda: class_flow().sample(LABELS, nfe=1, **{option: wrong}),
    ):
        with pytest.raises(OptionError, match=rf"{option}=.* is not possible; (choose|expected) a number"):
            attempt()


def test_an_evaluation_measures_the_samples_of_that_temperature_and_their_own_trajectories() -> None:
    flow, (mean, scale) = gaussian_flow()
    data = mean + scale * torch.randn(4000, 2, generator=seeded(1)).double()
    half = mean + 0.5 * scale * torch.randn(4000, 2, generator=seeded(2)).double()

    def values(sampler: str, metric: str) -> list[float]:
        options = {"samples": 1000, "metrics": ["w2", "truncation"], "nfe": [0, 80]}
        found = evaluate(flow, TensorData(data), reference=TensorData(half), sampler=sampler, **options)
        return [row["value"] for row in found.select(metric=metric) if row["flow"] != "real data"]

    cold, warm = values("rk4:temperature=0.5", "w2_squared"), values("rk4", "w2_squared")
    assert cold[1] < 0.1 * warm[1]
    assert cold[0] != warm[0]
    assert values("rk4:temperature=0.5", "global_error")[0] < 1e-3


@pytest.mark.parametrize("coupling", ["condot", "ot", "independent", "posterior", "semidiscrete"])
@pytest.mark.parametrize("prior", ["gaussian", "gmm", "latent-gmm:rank=2"])
def test_the_mean_of_the_source_stays_where_it_is_or_the_temperature_is_refused(
    coupling: str, prior: str
) -> None:
    flow = flow_of(ClassVelocity(3, 3), prior=prior, classes=3, dtype=torch.float32)
    chosen = Coupling.registry.resolve(coupling)
    flow = Flow(flow.model, flow.prior, flow.coupling, flow.path, Condition("labels", 3))
    flow.coupling = chosen
    asked = torch.zeros(4000, dtype=torch.long)
    drawn = flow.sample(asked, nfe=0, generator=seeded())
    if coupling == "independent" and prior != "gaussian":
        with pytest.raises(CouplingError, match="use temperature=1"):
            flow.sample(asked, nfe=0, temperature=0.5, generator=seeded())
        return
    found = flow.sample(asked, nfe=0, temperature=0.5, generator=seeded())
    torch.testing.assert_close(found.mean(0), drawn.mean(0), rtol=0, atol=0.06)
    torch.testing.assert_close(found.std(0), 0.5 * drawn.std(0), rtol=1e-3, atol=0)


def test_numbers_of_numpy_are_numbers_and_are_written_plainly() -> None:
    sampler = Sampler.create("euler", temperature=np.float32(0.5))
    assert spec_of(Sampler.registry, sampler) == "euler:temperature=0.5"
    assert (
        spec_of(Sampler.registry, sampler.with_source(temperature=np.float64(0.25)))
        == "euler:temperature=0.25"
    )


def test_a_frozen_sampler_of_a_plug_in_has_a_temperature_too() -> None:
    @dataclass(frozen=True)
    class Frozen(Euler):
        """Steps like Euler."""

        grid: str = "uniform"

    registry = Registry("sampler", kind=Sampler, shared={"temperature": 1.0})
    registry.register("frozen")(Frozen)
    built = registry.create("frozen", temperature=0.4)
    assert (built.temperature, built.with_source(temperature=0.2).temperature) == (0.4, 0.2)


def test_the_prior_alone_is_measured_once_for_each_temperature(monkeypatch: pytest.MonkeyPatch) -> None:
    flow, (mean, scale) = gaussian_flow()
    data = TensorData(mean + scale * torch.randn(200, 2, generator=seeded(1)).double())
    asked: list[float] = []
    solve = Flow.solve

    def counting(self: Flow, *arguments: Any, **options: Any) -> Any:
        asked.extend([options["sampler"].temperature] if options["nfe"] == 0 else [])
        return solve(self, *arguments, **options)

    monkeypatch.setattr(Flow, "solve", counting)
    samplers = ["euler", "heun:temperature=0.4", "euler:temperature=0.4", "midpoint"]
    found = evaluate(flow, data, reference=data, nfe=[0, 2], sampler=samplers, samples=50, metrics=["w2"])
    assert asked == [1.0, 0.4]
    values = {row["sampler"]: row["value"] for row in found.select(metric="w2_squared", nfe=0)}
    assert values["euler"] == values["midpoint"] != values["euler:temperature=0.4"]
    assert values["heun:temperature=0.4"] == values["euler:temperature=0.4"]
