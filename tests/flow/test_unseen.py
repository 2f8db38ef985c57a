"""Labels that training never saw: refused, or on request the null condition of prior and network."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor

from flowprior import Flow, Prior, evaluate, train
from flowprior.conditions import Condition, Parts
from flowprior.couplings import Coupling
from flowprior.data import TensorData
from flowprior.errors import InputError
from flowprior.paths import Path

LABELS = 4
NULL = LABELS
NEVER = 2
POOLED = [
    "gmm:unseen=pooled",
    "latent-gmm:unseen=pooled,rank=2,components=1",
    "gmm:unseen=pooled,shrinkage=0.01",
]


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
    assert (never > 25).float().mean() == pytest.approx(1 / 3, abs=0.07), "where training drew it from"
    assert ((never - 20).abs() < 4).sum() == 0


@pytest.mark.parametrize("spec", [spec.replace("unseen=pooled", "unseen=raise") for spec in POOLED[:2]])
def test_they_are_refused_by_default(spec, data):
    flow, _ = flow_of(fitted(spec, data), Condition("labels", LABELS))
    with pytest.raises(InputError, match=r"label 2, which had no example when the prior was fitted.*pooled"):
        flow.sample(torch.tensor([NEVER]), nfe=1)


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


def test_all_parts_of_such_a_condition_are_null(data):
    """As training drops them, together."""
    x, labels = data
    prior = fitted("gmm:unseen=pooled", (x, Parts({"kind": labels, "size": x[:, :1]})))
    parts = (("kind", Condition("labels", LABELS)), ("size", Condition("embeddings", 1)))
    whole: list[Parts] = []

    def velocity(x: Tensor, t: Tensor, cond: Parts) -> Tensor:
        whole.append(cond)
        return torch.zeros_like(x)

    flow = Flow(
        velocity, prior, Coupling.create("condot"), Path.create("condot"), Condition("parts", parts=parts)
    )
    with pytest.warns(RuntimeWarning, match="no example of label 2"):
        flow.sample({"kind": torch.tensor([NEVER, 1]), "size": torch.ones(2, 1)}, nfe=1)
    assert whole[0]["kind"].tolist() == [NULL, 1]
    assert whole[0]["size"].tolist() == [[0.0], [1.0]]


def test_a_negative_label_that_is_unseen_is_the_null_condition_too(data):
    flow, asked = flow_of(fitted(POOLED[1], data), Condition("labels", LABELS))
    with pytest.warns(RuntimeWarning, match="no example of label 2"):
        flow.sample(torch.tensor([0]), nfe=1, guidance=2.0, negative=torch.tensor([NEVER]))
    assert asked[0].tolist() == [0, NULL]


def test_a_prior_that_training_was_given_does_not_say_what_training_saw(data):
    """The network was trained with the label, and only the prior does not know it."""
    x, labels = data
    all_labels = torch.where(torch.arange(600) < 60, NEVER, labels)
    options = {"coupling": "condot", "model": "mlp:width=8,depth=1", "steps": 2}
    flow = train((x, all_labels), prior=fitted(POOLED[0], data), **options)
    asked: list[Tensor] = []
    flow.model.register_forward_pre_hook(lambda _, inputs: asked.append(inputs[2]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        flow.sample(torch.tensor([NEVER, 0]), nfe=1)
    assert asked[0].tolist() == [NEVER, 0]


def test_pairs_of_unseen_labels_can_be_smoothed(data):
    """A label of few examples makes a prior smooth its pairs; the others need not be known to it."""
    x, labels = data
    few = (labels != 3) | (torch.arange(600) < 9)
    prior = fitted("latent-gmm:unseen=pooled,rank=2,components=1", (x[few], labels[few]))
    assert (prior.given > 0).any()
    prior.given[-1] = 1.0  # every pair of the null condition is the prior's own
    x0, x1 = Coupling.create("posterior").pairs(prior, x, torch.full((600,), NEVER))
    assert x0.isfinite().all()
    assert not torch.equal(x1, x)


def test_truncation_errors_are_of_what_the_samples_were_asked_for(data):
    """With as many steps as the solution needs, the error is 0 for unseen labels as for others."""
    x, labels = data
    prior = fitted(POOLED[1], data)

    def velocity(x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        return cond[:, None] * torch.ones_like(x)

    flow = Flow(
        velocity, prior, Coupling.create("condot"), Path.create("condot"), Condition("labels", LABELS)
    )
    held_out = TensorData(x, torch.full((600,), NEVER), classes=LABELS)
    train_split = TensorData(x, labels, classes=LABELS)
    with pytest.warns(RuntimeWarning, match="no example of label 2"):
        found = evaluate(flow, train_split, reference=held_out, nfe=[1], samples=50, metrics=["truncation"])
    assert found.value("global_error", 1) < 1e-4


def test_a_prior_that_reads_nothing_may_have_any_condition(data):
    """An unconditional prior under a condition of several parts that it could read."""
    x, labels = data
    prior = Prior.create("gmm").fit(x)
    parts = (("a", Condition("labels", LABELS)), ("b", Condition("labels", LABELS)))
    path = Path.create("condot")
    flow = Flow(
        lambda x, t, c: x, prior, Coupling.create("independent"), path, Condition("parts", parts=parts)
    )
    assert flow.sample({"a": labels[:2], "b": labels[:2]}, nfe=1).shape == (2, 3)


def test_a_network_that_never_saw_the_null_condition_is_said_to_be_so(data):
    options = {"prior": POOLED[1], "coupling": "posterior", "model": "mlp:width=8,depth=1", "steps": 2}
    for dropped, ending in ((0.0, "condition_dropout=0.1"), (0.5, "any label's")):
        flow = train(data, **options, condition_dropout=dropped)
        with pytest.warns(RuntimeWarning, match=f"no example of label 2.*{ending}$"):
            flow.sample(torch.tensor([NEVER]), nfe=2)
