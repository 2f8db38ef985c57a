"""Labels that training never saw: refused, or on request the null condition of prior and network."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor

from flowprior import Flow, Prior, train
from flowprior.conditions import Condition, Parts
from flowprior.couplings import Coupling
from flowprior.errors import InputError
from flowprior.paths import Path

LABELS = 4
NULL = LABELS
NEVER = 2
POOLED = ["gmm:unseen=pooled", "latent-gmm:unseen=pooled,rank=2,components=1"]


@pytest.fixture
def data(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """600 rows of labels 0, 1 and 3, whose means are far apart; none of label 2."""
    labels = torch.tensor([0, 1, 3]).repeat(200)
    return torch.randn(600, 3, generator=generator) + 10.0 * labels[:, None], labels


def fitted(spec: str, data: tuple[Tensor, Tensor]) -> Prior:
    return Prior.registry.resolve(spec).fit(data, generator=torch.Generator().manual_seed(0))


def flow_of(prior: Prior, condition: Condition, **options: object) -> tuple[Flow, list[Tensor]]:
    """A flow that stays where it starts, and what its network was asked for."""
    asked: list[Tensor] = []

    def velocity(x: Tensor, t: Tensor, cond: Parts | Tensor) -> Tensor:
        asked.append(cond["kind"] if isinstance(cond, Parts) else cond)
        return torch.zeros_like(x)

    parts = prior, Coupling.create("condot"), Path.create("condot"), condition
    return Flow(velocity, *parts, **options), asked


@pytest.mark.parametrize("spec", POOLED)
def test_the_network_and_the_prior_get_the_null_condition(spec, data):
    flow, asked = flow_of(fitted(spec, data), Condition("labels", LABELS))
    cond = torch.tensor([0, NEVER, 3]).repeat(500)
    with pytest.warns(RuntimeWarning, match="no example of label 2; .* the null condition's, any label's$"):
        x = flow.sample(cond, nfe=1, generator=torch.Generator().manual_seed(1))
    assert torch.equal(asked[0], torch.where(cond == NEVER, NULL, cond))
    for label in (0, 3):
        assert (x[cond == label].mean() - 10 * label).abs() < 0.3
    never = x[cond == NEVER]
    assert never.mean() == pytest.approx(data[0].mean(), abs=1.5)
    assert never.std() == pytest.approx(data[0].std().item(), rel=0.1)
    never = never.mean(1)
    if spec.startswith("latent"):  # the marginal itself, not one Gaussian of its moments
        assert (never > 25).float().mean() == pytest.approx(1 / 3, abs=0.07)
        assert ((never - 20).abs() < 4).sum() == 0


@pytest.mark.parametrize("spec", [spec.replace("unseen=pooled", "unseen=raise") for spec in POOLED])
def test_they_are_refused_by_default(spec, data):
    flow, _ = flow_of(fitted(spec, data), Condition("labels", LABELS))
    with pytest.raises(InputError, match=r"label 2, which had no example when the prior was fitted.*pooled"):
        flow.sample(torch.tensor([NEVER]), nfe=1)


def test_labels_that_were_seen_are_sampled_without_a_word(data):
    flow, asked = flow_of(fitted(POOLED[1], data), Condition("labels", LABELS))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        flow.sample(data[1], nfe=1)
    assert torch.equal(asked[0], data[1])


def test_density_and_mean_are_those_of_the_marginal(data):
    prior = fitted(POOLED[1], data)
    x, never = data[0][:50], torch.full((50,), NEVER)
    torch.testing.assert_close(prior.log_prob(x, never), prior.log_prob_marginal(x))
    torch.testing.assert_close(prior.log_prob(x, torch.full((50,), 11)), prior.log_prob_marginal(x))
    expected = torch.stack([prior.mean(torch.tensor([label]))[0] for label in (0, 1, 3)]).mean(0)
    torch.testing.assert_close(prior.mean(never[:1])[0], expected)
    mixed = torch.tensor([0, NEVER, 1]).repeat(20)[:50]
    assert torch.equal(prior.unseen_rows(mixed), mixed == NEVER)
    assert prior.unseen_rows(torch.tensor([0, 1, 3])) is None
    each = torch.where(mixed == NEVER, prior.log_prob_marginal(x), prior.log_prob(x, mixed.clamp_max(1)))
    torch.testing.assert_close(prior.log_prob(x, mixed), each)


def test_a_part_of_a_condition_may_be_unseen(data):
    x, labels = data
    prior = fitted("gmm:unseen=pooled", (x, Parts({"kind": labels, "size": x[:, :1]})))
    parts = (("kind", Condition("labels", LABELS)), ("size", Condition("embeddings", 1)))
    flow, asked = flow_of(prior, Condition("parts", parts=parts))
    with pytest.warns(RuntimeWarning, match="no example of label 2"):
        flow.sample({"kind": torch.tensor([NEVER, 1]), "size": torch.ones(2, 1)}, nfe=1)
    assert asked[0].tolist() == [NULL, 1]


def test_a_network_that_never_saw_the_null_condition_is_said_to_be_so(data):
    options = {"prior": POOLED[1], "coupling": "posterior", "model": "mlp:width=8,depth=1", "steps": 2}
    for dropped, ending in ((0.0, "condition_dropout=0.1"), (0.5, "any label's")):
        flow = train(data, **options, condition_dropout=dropped)
        with pytest.warns(RuntimeWarning, match=f"no example of label 2.*{ending}$"):
            flow.sample(torch.tensor([NEVER]), nfe=2)


def test_it_is_saved_and_loaded(data, tmp_path):
    prior = fitted(POOLED[1], data)
    prior.save(tmp_path)
    again = Prior.load(tmp_path)
    assert again.unseen == "pooled"
    never = torch.tensor([NEVER])
    torch.testing.assert_close(again.mean(never), prior.mean(never))
