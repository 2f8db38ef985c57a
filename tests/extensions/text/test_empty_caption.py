"""The empty caption is the null condition of the network, and of the prior, which draws its marginal."""

from __future__ import annotations

import math
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
SEED = 3


def events(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Points around a centre of each of twelve captions, in turn, and the captions' embeddings."""
    cond = WordEncoder().encode(CAPTIONS).pooled.repeat(20, 1)
    x = cond[:, :2] + 0.1 * torch.randn(len(cond), 2, generator=generator)
    return x, cond


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
    torch.testing.assert_close(drawn(flow, ["", " ", "\n"] * 2, nfe=4), x)
    assert flow.log_prob(x, [""] * 6).isfinite().all()


def test_guidance_away_from_it_is_guidance_away_from_the_null_condition(flow: Flow) -> None:
    cond = ["red cat"] * 3
    guided = drawn(flow, cond, nfe=3, guidance=2)
    assert torch.equal(drawn(flow, cond, nfe=3, guidance=2, negative=""), guided)
    assert not torch.allclose(drawn(flow, cond, nfe=3, guidance=2, negative="blue dog"), guided)


@pytest.mark.parametrize("name", PRIORS)
def test_a_prior_starts_there_from_all_of_its_conditions(name: str, generator: torch.Generator) -> None:
    """Against draws under each caption in turn, which all were seen equally often."""
    x, cond = (tensor.double() for tensor in events(generator))
    prior, count = Prior.create(name, **PRIORS[name]), 1200
    seen = (tensor.double() for tensor in events(torch.Generator().manual_seed(SEED)))
    prior.fit(tuple(seen), generator=torch.Generator().manual_seed(0))
    null = prior.sample(torch.zeros_like(cond[:1]).expand(count, -1), generator=generator)
    each = prior.sample(cond.repeat(5, 1), generator=generator)
    spread = each.std(0)
    error = spread * math.sqrt(2 / count)
    assert ((null.mean(0) - each.mean(0)).abs() < 4 * error).all()
    assert ((null.std(0) / spread).log().abs() < 0.2).all()
    mixed, own = torch.stack([cond[0], torch.zeros_like(cond[0]), cond[1]]), [0, 2]
    mean, density = prior.mean(mixed), prior.log_prob(x[:3], mixed)
    assert ((mean[1] - each.mean(0)).abs() < 4 * error).all()
    torch.testing.assert_close(density[1:2], prior.log_prob_marginal(x[1:2]))
    torch.testing.assert_close(mean[own], prior.mean(mixed[own]))
    torch.testing.assert_close(density[own], prior.log_prob(x[own], mixed[own]))


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
