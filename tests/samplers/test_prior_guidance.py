"""Prior guidance: source samples moved along what tells their condition from all others."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowprior.conditions import Condition
from flowprior.couplings import Coupling
from flowprior.errors import CouplingError
from flowprior.flow import Flow
from flowprior.paths import Path
from flowprior.priors import Prior, merge
from flowprior.registry.registry import spec_of
from flowprior.samplers import Sampler

from .test_temperature import LABELS, class_flow, seeded


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
