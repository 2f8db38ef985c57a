"""Labels that are added, updated and dropped: as a fit to everything where the algebra allows it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from flowprior import Coupling, Flow, Path, Prior, train
from flowprior.conditions import Condition
from flowprior.errors import InputError, NotFittedError, OptionError

EXACT = ["diag", "spherical", "full", "tied"]


def rows(seed: int, counts: list[int], dim: int = 3) -> tuple[Tensor, Tensor]:
    """``counts[c]`` rows of label c, in random order."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    mix = torch.randn(len(counts), dim, dim, generator=torch.Generator().manual_seed(99)).double()
    z = torch.randn(len(labels), dim, generator=generator).double()
    return torch.einsum("bi,bij->bj", z, mix[labels]) + labels[:, None], labels


def joined(*parts: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    x, labels = zip(*parts, strict=True)
    return torch.cat(x), torch.cat(labels)


def fitted(data: tuple[Tensor, Tensor], **options) -> Prior:
    return Prior.create("gmm", **options).fit(data, generator=torch.Generator().manual_seed(0))


def check_same(prior: Prior, other: Prior, tolerance: float = 1e-6) -> None:
    assert prior.state_dict().keys() == other.state_dict().keys()
    for name, table in prior.state_dict().items():
        torch.testing.assert_close(table, other.state_dict()[name], rtol=tolerance, atol=tolerance, msg=name)


@pytest.mark.parametrize("shrinkage", [0.0, 3.0])
@pytest.mark.parametrize("covariance", EXACT)
def test_further_examples_and_new_labels_give_a_fit_to_everything(covariance, shrinkage):
    options = {"covariance": covariance, "shrinkage": shrinkage, "keep_moments": True}
    first, more = rows(0, [50, 60, 40]), rows(1, [0, 30, 0, 0, 25])
    prior = fitted(first, **options)
    assert prior.update(more) is prior
    check_same(prior, fitted(joined(first, more), **options))
    assert prior.changes == ["labels 1, 4 updated"]
    with_batches = fitted(first, **options).update([(x[None], c[None]) for x, c in zip(*more, strict=True)])
    check_same(with_batches, prior)


@pytest.mark.parametrize("shrinkage", [0.0, 3.0])
@pytest.mark.parametrize("covariance", EXACT)
def test_what_is_left_is_a_fit_without_the_dropped(covariance, shrinkage):
    options = {"covariance": covariance, "shrinkage": shrinkage, "keep_moments": True, "conditions": 4}
    x, labels = rows(0, [50, 60, 40, 30])
    prior = fitted((x, labels), **options).drop([1, 3])
    kept = (labels == 0) | (labels == 2)
    check_same(prior, fitted((x[kept], labels[kept]), **options))
    assert prior.changes == ["labels 1, 3 dropped"]
    if not shrinkage:
        with pytest.raises(InputError, match="label 1"):
            prior.sample(torch.tensor([1]))
    assert set(prior.sample_marginal(200, generator=torch.Generator().manual_seed(0)).shape) == {200, 3}


@pytest.mark.parametrize(
    "options", [{}, {"covariance": "full"}, {"components": 3}, {"covariance": "lowrank", "rank": 2}]
)
def test_without_moments_labels_are_fitted_anew_and_others_left(options):
    first, new = rows(0, [50, 60, 40]), rows(1, [0, 80, 0, 0, 70])
    prior = fitted(first, **options)
    before = copy.deepcopy(prior.state_dict())
    prior.update(new, generator=torch.Generator().manual_seed(0))
    alone = fitted(new, **options)
    for label, source in ((0, None), (1, alone), (2, None), (4, alone)):
        for name in ("logits", "loc", *prior.family.parameters):
            expected = before[name] if source is None else source.state_dict()[name]
            torch.testing.assert_close(prior.state_dict()[name][label], expected[label], rtol=0, atol=0)
    assert torch.equal(prior.loc[-1], before["loc"][-1]), "the pooled Gaussian stays"
    assert prior.count.tolist() == [50, 80, 40, 0, 70]
    labels = torch.tensor([0, 1, 2, 4])
    assert prior.log_prob(prior.sample(labels), labels).isfinite().all()
    prior.drop(torch.tensor([4]))
    with pytest.raises(InputError, match="label 4"):
        prior.sample(torch.tensor([4]))


def test_a_new_fit_forgets_the_changes_and_the_state_travels(tmp_path):
    prior = fitted(rows(0, [50, 60]), keep_moments=True).update(rows(1, [5, 5]))
    prior.save(tmp_path / "prior")
    loaded = Prior.load(tmp_path / "prior")
    check_same(loaded, prior)
    more = rows(2, [7, 0, 9])
    check_same(loaded.update(more), prior.update(more))
    assert prior.fit(rows(0, [50, 60])).changes == []


def test_refusals_say_what_to_do():
    with pytest.raises(NotFittedError, match=r"call prior\.fit"):
        Prior.create("gmm").update(rows(0, [5, 5]))
    prior = fitted(rows(0, [50, 60]))
    before = copy.deepcopy(prior.state_dict())
    with pytest.raises(InputError, match=r"expected events of shape \[3\], got \[2\]"):
        prior.update(rows(0, [5, 5], dim=2))
    with pytest.raises(InputError, match="and labels with the data"):
        prior.update(rows(0, [5, 5])[0])
    with pytest.raises(InputError, match="label 7 not among"):
        prior.drop([0, 7])
    with pytest.raises(InputError, match="no label would be left"):
        prior.drop([0, 1])
    check_same(prior.drop([]), prior)
    for name, table in prior.state_dict().items():
        torch.testing.assert_close(table, before[name], rtol=0, atol=0)
    assert prior.changes == []
    with pytest.raises(InputError, match="without labels"):
        Prior.create("gmm").fit(rows(0, [50])[0]).drop([0])
    for change in (lambda p: p.update(rows(1, [5, 5])), lambda p: p.drop([0])):
        with pytest.raises(InputError, match="keep_moments=true"):
            change(fitted(rows(0, [50, 60]), shrinkage=1.0))
    for options in ({"components": 2}, {"covariance": "lowrank"}):
        with pytest.raises(OptionError, match="for one component, and not for 'lowrank'"):
            Prior.create("gmm", keep_moments=True, **options)


def test_moments_too_large_are_refused_with_their_size(monkeypatch):
    monkeypatch.setattr("flowprior.priors.updatable_mixture.MOST_BYTES", 50)
    with pytest.raises(OptionError, match=r"takes 0 GiB for 2 labels; .*covariance='diag'"):
        fitted(rows(0, [50, 60]), keep_moments=True)


LAWS = ["averaged-gmm", "mixture"]


def latent(data: tuple[Tensor, Tensor], law: str = "averaged-gmm", **options) -> Prior:
    prior = Prior.create("latent-gmm", law=law, **{"rank": 3, "reg_covar": 0.01, **options})
    return prior.fit(data, generator=torch.Generator().manual_seed(0))


@pytest.mark.slow
@pytest.mark.parametrize("law", LAWS)
def test_a_latent_mixture_learns_labels_anew_beside_the_others(law):
    first, new = rows(0, [200, 300, 250]), rows(1, [0, 280, 0, 0, 260])
    prior, whole = latent(first, law), latent(joined(first, new), law)
    cond = torch.tensor([0, 2]).repeat(50)
    before = prior.sample(cond, generator=torch.Generator().manual_seed(1))
    null = prior.frame(torch.tensor([3]), 1).loc
    prior.update(new, generator=torch.Generator().manual_seed(0))
    after = prior.sample(cond, generator=torch.Generator().manual_seed(1))
    assert torch.equal(after, before), "others draw what they drew"
    assert torch.equal(prior.frame(torch.tensor([5]), 1).loc, null), (
        "the null condition stays, one place further"
    )
    assert prior.seen.tolist() == [0, 1, 2, 4]
    assert prior.seen_weight.tolist() == [200, 280, 250, 260]
    for name in ("loc", "noise", "basis", "spread"):
        found, expected = (getattr(p.subspace, name)[4] for p in (prior, whole))
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    x, labels = rows(2, [0, 200, 0, 0, 200])
    alone = latent(new, law).log_prob(x, labels).mean()
    assert prior.log_prob(x, labels).mean() == pytest.approx(float(alone), abs=1e-6)
    assert prior.log_prob(x[labels == 4], labels[labels == 4]).mean() == pytest.approx(
        float(whole.log_prob(x[labels == 4], labels[labels == 4]).mean()), abs=0.1
    )
    inferred = Coupling.create("posterior").draw(prior, x, labels, generator=torch.Generator().manual_seed(0))
    assert inferred.isfinite().all()
    with pytest.raises(InputError, match="label 3"):
        prior.sample(torch.tensor([3]))


@pytest.mark.slow
@pytest.mark.parametrize("law", LAWS)
def test_a_latent_mixture_forgets_labels_and_travels(law, tmp_path):
    prior = latent(rows(0, [200, 300, 250]), law).update(rows(1, [0, 0, 0, 240])).drop([1])
    assert prior.changes == ["label 3 updated", "label 1 dropped"]
    prior.save(tmp_path / "prior")
    loaded = Prior.load(tmp_path / "prior")
    check_same(loaded, prior)
    labels = torch.tensor([0, 2, 3]).repeat(10)
    first, again = (p.sample(labels, generator=torch.Generator().manual_seed(3)) for p in (prior, loaded))
    assert torch.equal(first, again)
    for p in (prior, loaded):
        with pytest.raises(InputError, match="label 1"):
            p.sample(torch.tensor([1]))
    drawn = prior.sample_marginal(500, generator=torch.Generator().manual_seed(0))
    assert drawn.isfinite().all()


@pytest.mark.slow
def test_what_labels_learn_from_each_other_is_refused():
    prior = latent(rows(0, [200, 300, 250]))
    with pytest.raises(InputError, match="label 1 has few examples for 3 latents"):
        prior.update(rows(1, [0, 20]))
    with pytest.raises(InputError, match="share their bases"):
        latent(rows(0, [200, 300]), basis="shared", rank=1).update(rows(1, [200]))
    other = latent(rows(0, [200, 300, 250]))
    other.latents = latent(rows(0, [200, 300, 250]), "mixture").latents
    with pytest.raises(InputError, match="law=mixture or law=averaged-gmm"):
        other.update(rows(1, [200]))


def test_a_flow_says_that_its_prior_was_changed(tmp_path):
    x, labels = rows(0, [100, 100])
    flow = train((x.float(), labels), prior="gmm", coupling="condot", model="mlp:width=8,depth=1", steps=2)
    flow.save(tmp_path / "flow")
    Flow.load(tmp_path / "flow")
    more, again = rows(1, [0, 50])
    flow.prior.update((more.float(), again))
    flow.save(tmp_path / "flow")
    for _ in range(2):
        with pytest.warns(RuntimeWarning, match=r"changed after the training \(label 1 updated\)"):
            flow = Flow.load(tmp_path / "flow")
        flow.save(tmp_path / "flow")
    assert isinstance(flow.model, torch.nn.Module)
    further = train((x.float(), labels), prior=flow.prior, coupling="condot", model=flow.model, steps=2)
    assert further.prior.changes == [], "a training with the changed prior knows it"


@pytest.mark.parametrize("name", ["gmm", "latent-gmm:rank=2,components=1"])
def test_a_flow_refuses_a_prior_with_labels_beyond_its_own(name):
    """The number after a flow's last label is its null condition, which would start from the new label."""
    x, labels = (part.float() if part.is_floating_point() else part for part in rows(0, [100, 100]))
    prior = Prior.registry.resolve(name).fit((x, labels))
    flow = Flow(
        lambda x, t, c: x, prior, Coupling.create("condot"), Path.create("condot"), Condition("labels", 2)
    )
    two = torch.tensor([0, 1])
    prior.update((x, labels))
    assert flow.sample(two, nfe=1).shape == (2, x.shape[1])
    prior.update((x, labels + 1))
    message = r"expected a prior of the flow's labels, 0\.\.1, got one that has learned labels up to 2"
    for ask in (lambda: flow.sample(two, nfe=1), lambda: flow.log_prob(x[:2], two)):
        with pytest.raises(InputError, match=message):
            ask()
    prior.drop([2])
    assert flow.sample(two, nfe=1).shape == (2, x.shape[1])


def test_labels_that_a_prior_may_have_are_none_that_it_has():
    """The number of conditions is an option of gmm."""
    x, labels = (part.float() if part.is_floating_point() else part for part in rows(0, [100, 100]))
    prior = Prior.create("gmm", conditions=12).fit((x, labels))
    flow = Flow(
        lambda x, t, c: x, prior, Coupling.create("condot"), Path.create("condot"), Condition("labels", 2)
    )
    prior.update((x, labels))
    assert flow.sample(torch.tensor([0, 1]), nfe=1).shape == (2, x.shape[1])


def test_the_null_condition_is_that_of_all_data_after_a_label_came_and_went():
    """Its number is the label's that was dropped, whose row is still in the tables."""
    x, labels = (part.float() if part.is_floating_point() else part for part in rows(0, [100, 100]))
    prior = Prior.create("latent-gmm", rank=2, components=1).fit((x, labels))
    null = torch.tensor([2])
    before = prior.frame(null, 1)
    prior.update((x + 50, labels + 1))
    assert not torch.equal(prior.frame(null, 1).loc, before.loc)
    prior.drop([2])
    after = prior.frame(null, 1)
    assert torch.equal(after.loc, before.loc)
    assert torch.equal(after.noise, before.noise)


def test_the_labels_of_a_flow_may_be_a_part_of_its_condition():
    from flowprior.conditions import Parts

    x, labels = (part.float() if part.is_floating_point() else part for part in rows(0, [100, 100]))
    prior = Prior.create("gmm").fit((x, Parts({"kind": labels, "size": x[:, :1]})))
    condition = Condition(
        "parts", parts=(("kind", Condition("labels", 2)), ("size", Condition("embeddings", 1)))
    )
    flow = Flow(lambda x, t, c: x, prior, Coupling.create("condot"), Path.create("condot"), condition)
    prior.update((x, labels))
    asked = {"kind": torch.tensor([0, 1]), "size": torch.zeros(2, 1)}
    assert flow.sample(asked, nfe=1).shape == (2, x.shape[1])
    prior.update((x, labels + 1))
    with pytest.raises(InputError, match="labels up to 2 since"):
        flow.sample(asked, nfe=1)


@pytest.mark.filterwarnings("ignore:flow.save. the network is a function:RuntimeWarning")
def test_a_flow_whose_note_is_damaged_is_refused(tmp_path):
    from flowprior.errors import CheckpointError
    from flowprior.flow.description import bindings_of, describe, write_description
    from flowprior.flow.reading import read_description

    prior = fitted((rows(0, [50, 50])[0].float(), rows(0, [50, 50])[1]))
    flow = Flow(
        lambda x, t, c: x, prior, Coupling.create("condot"), Path.create("condot"), Condition("labels", 2)
    )
    flow.save(tmp_path)
    files = bindings_of(read_description(tmp_path))
    write_description(tmp_path, {**describe(flow), "prior_changes": "label 1"}, files)
    with pytest.raises(CheckpointError, match="prior_changes"):
        read_description(tmp_path)
