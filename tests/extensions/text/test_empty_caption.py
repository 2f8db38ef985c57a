"""The empty caption is the null condition of the network, and of the prior, which draws its marginal."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from flowprior.data import TensorData
from flowprior.flow import Flow
from flowprior.priors import Prior
from flowprior.training import train
from tests.words import WordEncoder

CAPTIONS = [
    f"{colour} {animal}" for colour in ("red", "blue", "green") for animal in ("cat", "dog", "ox", "bee")
]
PRIORS = {
    "learned-mean": {"sigma": 0.3, "hidden": 32, "depth": 1, "epochs": 60, "lr": 5e-3},
    "kernel-mean": {"sigma": 0.3},
    "vae": {"latent": 2, "width": 8, "steps": 60, "importance": 8},
}
every_prior = pytest.mark.parametrize("name", PRIORS)
SEED = 3


def events(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Points around a centre of each of twelve captions, in turn, and the captions' embeddings."""
    cond = WordEncoder().encode(CAPTIONS).pooled.repeat(20, 1)
    x = cond[:, :2] + 0.1 * torch.randn(len(cond), 2, generator=generator)
    return x, cond


@cache
def fitted(name: str) -> Prior:
    """Fitted once, in float64."""
    x, cond = events(torch.Generator().manual_seed(SEED))
    prior = Prior.create(name, **PRIORS[name])
    return prior.fit((x.double(), cond.double()), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def flow(generator: torch.Generator, words: type[WordEncoder]) -> Flow:
    data = TensorData(*events(generator), name="captioned points")
    data.text_encoder, data.text_encoder_identity = "words", WordEncoder().identity()
    prior = {"prior": Prior.create("learned-mean", **PRIORS["learned-mean"]), "coupling": "condot"}
    options: dict[str, Any] = {"steps": 20, "batch_size": 32, "warmup": 2, "device": "cpu"}
    return train(data, **prior, model="mlp:width=16,depth=1", **options)


def drawn(flow: Flow, cond: Any, **options: Any) -> Tensor:
    generator = torch.Generator().manual_seed(SEED)
    return flow.sample(cond, sampler="euler", generator=generator, **options)


def test_its_samples_are_the_unconditional_draw(flow: Flow) -> None:
    """Source samples of the marginal, and Euler steps of the network at its null condition, by hand."""
    x = flow.prior.sample_marginal(6, generator=torch.Generator().manual_seed(SEED))
    torch.testing.assert_close(drawn(flow, [""] * 6, nfe=0), x)
    null = torch.zeros(6, WordEncoder().size)
    for step in range(4):
        with torch.no_grad():
            x = x + 0.25 * flow.velocity(x, torch.full((6,), 0.25 * step), null)
    torch.testing.assert_close(drawn(flow, [""] * 6, nfe=4), x)
    torch.testing.assert_close(drawn(flow, ["", " ", "\n"] * 2, nfe=4), x)


def test_guidance_away_from_it_is_guidance_away_from_the_null_condition(flow: Flow) -> None:
    cond = ["red cat"] * 3
    guided = drawn(flow, cond, nfe=3, guidance=2)
    assert torch.equal(drawn(flow, cond, nfe=3, guidance=2, negative=""), guided)
    assert not torch.allclose(drawn(flow, cond, nfe=3, guidance=2, negative="blue dog"), guided)


def test_its_density_is_that_of_the_unconditional_draw(flow: Flow) -> None:
    x = torch.tensor([[0.0, 0.0], [1.0, -1.0]])
    expected = flow.prior.log_prob_marginal(x)
    torch.testing.assert_close(flow.prior.log_prob(x, torch.zeros(2, WordEncoder().size)), expected)
    assert flow.log_prob(x, ["", ""]).isfinite().all()


@every_prior
def test_a_prior_starts_there_from_all_of_its_conditions(name: str, generator: torch.Generator) -> None:
    """Against draws under each caption in turn, which all were seen equally often."""
    cond, prior = events(generator)[1], fitted(name)
    count = 1200
    null = prior.sample(cond.new_zeros(count, 6).double(), generator=generator)
    each = prior.sample(cond.double().repeat(5, 1), generator=generator)
    assert len(each) == count
    spread = each.std(0)
    error = spread * math.sqrt(2 / count)
    assert ((null.mean(0) - each.mean(0)).abs() < 4 * error).all()
    assert ((null.std(0) / spread).log().abs() < 0.2).all()
    mean = prior.mean(torch.zeros(2, 6, dtype=torch.float64))
    assert ((mean - each.mean(0)).abs() < 4 * error).all()


@every_prior
def test_other_rows_keep_their_own_law(name: str, generator: torch.Generator) -> None:
    x, cond = events(generator)
    prior = fitted(name)
    mixed = torch.stack([cond[0], torch.zeros(6), cond[1]]).double()
    own = [0, 2]
    torch.testing.assert_close(prior.mean(mixed)[own], prior.mean(mixed[own]))
    torch.testing.assert_close(
        prior.log_prob(x[:3].double(), mixed)[own], prior.log_prob(x[own].double(), mixed[own])
    )


def test_zeros_that_were_seen_are_a_condition_like_any_other(
    generator: torch.Generator,
) -> None:
    """Such as the dose of a control."""
    dose = (torch.arange(400) % 4).float()[:, None]
    x = 3 * dose + 0.1 * torch.randn(400, 1, generator=generator)
    prior = Prior.create("kernel-mean", sigma=0.1).fit((x, dose))
    drawn = prior.sample(torch.zeros(200, 1), generator=generator)
    assert drawn.abs().max() < 1
    assert prior.mean(torch.zeros(1, 1)).abs() < 0.2
