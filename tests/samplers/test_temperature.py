"""Temperature and prior guidance: where a sampler starts."""

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
from flowprior.paths import Path
from flowprior.priors import Prior, merge
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


# -- prior guidance -------------------------------------------------------------------------------


def fitted(spec: str, labels: int = 2) -> tuple[Prior, Tensor]:
    """A prior, and conditions of rows of which three quarters are of the first kind."""
    kind = (torch.arange(400) % 4 == 0).long()
    x = torch.randn(400, 3, generator=seeded()) + 4 * kind[:, None]
    cond = torch.eye(labels)[kind] + 0.5 if spec.startswith(("learned", "kernel")) else kind
    return Prior.registry.resolve(spec).fit((x, cond), generator=seeded()), cond


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("strength", [0.0, 1.0, 3.0])
def test_both_options_move_source_samples_by_their_formula(temperature: float, strength: float) -> None:
    """By the call, to which the sampler's own options give way, and by the spec; evaluations stay."""
    flow, sampler = class_flow(), Sampler.create("euler", temperature=0.9)
    mean, marginal = flow.prior.mean(LABELS), flow.prior.marginal_mean()
    assert (mean - marginal).abs().max() > 0.1
    plain = flow.sample(LABELS, nfe=0, generator=seeded())
    options = {"temperature": temperature, "prior_guidance": strength}
    found = flow.sample(LABELS, nfe=0, sampler=sampler, generator=seeded(), **options)
    expected = mean + temperature * (plain - mean) + (strength - 1) * (mean - marginal)
    torch.testing.assert_close(found, expected)
    assert sampler.temperature == 0.9
    spec = f"euler:temperature={temperature},prior_guidance={strength}"
    solved = flow.solve(LABELS, sampler=spec, nfe=4, generator=seeded(), trajectory=True)
    assert solved.nfe == 4
    torch.testing.assert_close(solved.trajectory[0], found)


@pytest.mark.parametrize("name", Sampler.available())
def test_every_sampler_has_the_option_in_its_spec(name: str) -> None:
    sampler = Sampler.registry.resolve(f"{name}:prior_guidance=1.5")
    assert sampler.with_source() is sampler
    assert sampler.prior_guidance == 1.5
    assert "prior_guidance=1.5" in spec_of(Sampler.registry, sampler)
    assert spec_of(Sampler.registry, Sampler.create(name)) == name
    assert sampler.with_source(temperature=0.5).source_options == (
        sampler.with_source(temperature=0.5, prior_guidance=1.5).source_options
    )


@pytest.mark.parametrize(
    "spec",
    [
        "gmm",
        "gmm:components=2",
        "latent-gmm:rank=2",
        "averaged-gmm",
        "learned-mean:epochs=2",
        "kernel-mean",
        *(["vae:steps=20,latent=2,width=8,importance=4"] if Prior.registry.knows("vae") else []),
    ],
)
def test_the_mean_of_all_is_that_of_the_marginal_source(spec: str) -> None:
    prior, cond = fitted(spec)
    drawn = prior.sample_marginal(20_000, generator=seeded(1))
    torch.testing.assert_close(prior.marginal_mean(), drawn.mean(0), rtol=0, atol=0.12)
    every = prior.mean(cond).mean(0)
    torch.testing.assert_close(prior.marginal_mean(), every, rtol=0, atol=0.12)


def test_the_mean_of_all_follows_a_new_fit_and_what_is_loaded() -> None:
    prior, _ = fitted("gmm")
    before = prior.marginal_mean()
    other, _ = fitted("gmm")
    other.fit((torch.full((20, 3), 7.0) + torch.randn(20, 3), torch.arange(20) % 2))
    assert (other.marginal_mean() - before).abs().min() > 3
    prior.load_state_dict(other.state_dict())
    torch.testing.assert_close(prior.marginal_mean(), other.marginal_mean())


def test_an_unconditional_prior_and_marginal_source_samples_are_refused() -> None:
    x = torch.randn(40, 3, generator=seeded())
    normal = Prior.create("gaussian").fit((x, torch.arange(40) % 2))
    flow = class_flow()
    for prior, coupling, message in (
        (normal, "condot", "'gaussian' have one mean for all conditions; use prior_guidance=1"),
        (fitted("gmm")[0], "independent", "use temperature=1 and prior_guidance=1"),
    ):
        parts = prior, Coupling.create(coupling), Path.create("condot"), Condition("labels", 2)
        with pytest.raises(CouplingError, match=message):
            Flow(flow.model, *parts).sample(torch.zeros(2, dtype=torch.long), nfe=0, prior_guidance=2)


def test_the_mean_of_all_follows_labels_that_are_merged_and_is_in_no_file() -> None:
    x, labels = torch.randn(90, 3, generator=seeded()), torch.arange(90) % 3
    prior = Prior.create("gmm", keep_moments=True).fit((x, labels))
    before = prior.marginal_mean()
    more = torch.randn(30, 3, generator=seeded(1)) + 9, torch.zeros(30, dtype=torch.long)
    merged = merge(prior, Prior.create("gmm", keep_moments=True).fit(more))
    assert (merged.marginal_mean() - before).min() > 2
    assert merged.double().marginal_mean().dtype == torch.float64
    assert not any("mean_of_all" in name for name in merged.state_dict())
