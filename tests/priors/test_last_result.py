"""The last result is found again for the same tensors, and for no others."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from flowprior import Coupling, Flow, Path, Prior
from flowprior.conditions import Condition
from flowprior.models import build_model
from flowprior.priors import last_result
from flowprior.priors.conditional_spread import ConditionalSpread
from flowprior.priors.last_result import LastResult


class Doubling:
    """Twice a tensor, and how often it was asked for."""

    def __init__(self) -> None:
        self.calls, self.last = 0, LastResult()

    def __call__(self, x: torch.Tensor, factor: float = 2.0) -> torch.Tensor:
        def find() -> tuple[torch.Tensor]:
            self.calls += 1
            return (factor * x,)

        return self.last.get((x,), torch.tensor(factor), find)[0]


def test_the_same_tensor_and_views_of_it_are_found_again():
    double, x = Doubling(), torch.arange(6.0)
    assert torch.equal(double(x), double(x))
    assert torch.equal(double(x.view(6)), 2 * x)
    assert double.calls == 1


def test_a_value_counts_wherever_it_lies():
    double, x = Doubling(), torch.arange(6.0)
    assert torch.equal(double(x, 3.0), double(x, 3.0))
    assert torch.equal(double(x, 4.0), 4 * x)
    assert double.calls == 2


def test_what_was_written_to_or_lies_elsewhere_is_found_anew():
    double, x = Doubling(), torch.arange(6.0)
    double(x)
    x[0] = 9
    assert torch.equal(double(x), 2 * x)
    assert torch.equal(double(x.clone()), 2 * x)
    assert torch.equal(double(x[:3]), 2 * x[:3])
    assert double.calls == 4


def test_a_place_is_not_taken_over_by_another_tensor():
    """Without holding what was asked for, its memory would go to the next tensor of its size."""
    double = Doubling()
    for number in range(20):
        x = torch.full((1000,), float(number))
        assert torch.equal(double(x), 2 * x)
        del x
    assert double.calls == 20


def test_a_copy_is_empty_and_too_large_results_are_not_kept(monkeypatch):
    double, x = Doubling(), torch.arange(6.0)
    double(x)
    for other in (copy.deepcopy(double), pickle.loads(pickle.dumps(double))):
        other(x)
        assert other.calls == 2
    monkeypatch.setattr(last_result, "MOST_BYTES", 10)
    double(x[:5])
    double(x[:5])
    assert double.calls == 3


def test_inside_of_transforms_and_of_inference_mode_nothing_is_kept():
    double, x = Doubling(), torch.arange(6.0).view(2, 3)
    assert torch.equal(torch.func.vmap(double)(x), 2 * x)
    with torch.inference_mode():
        inside = torch.arange(3.0)
        for _ in range(2):
            assert torch.equal(double(inside), 2 * inside)
    assert double.calls == 3


@pytest.fixture
def prior(generator) -> Prior:
    cond = torch.randn(300, 3, generator=generator)
    x = cond @ torch.randn(3, 5, generator=generator) + torch.randn(300, 5, generator=generator)
    options = {"covariance": "lowrank", "hidden": 16, "rank": 3, "steps": 30, "components": 2, "epochs": 3}
    with pytest.warns(RuntimeWarning, match="has not converged"):
        return Prior.create("learned-mean", **options).fit((x, cond), generator=generator)


def test_the_axes_are_found_once_for_the_steps_of_a_sampler(prior, generator, monkeypatch):
    calls, own = [], ConditionalSpread._parts
    monkeypatch.setattr(
        ConditionalSpread, "_parts", lambda self, *a: calls.append(len(a[0])) or own(self, *a)
    )
    model = build_model("mlp:width=8,depth=1", torch.Size([5]), Condition("embeddings", 3), 3)
    parts = prior, Coupling.create("posterior"), Path.create("condot"), Condition("embeddings", 3)
    flow = Flow(model, *parts, prediction="preconditioned").eval()
    flow.sample(torch.randn(7, 3, generator=generator), nfe=6, generator=generator)
    assert calls == [7]


def test_a_low_rank_prior_answers_for_the_conditions_asked_for(prior, generator):
    """One after the other, in place, and after another fit."""
    cond = torch.randn(4, 3, generator=generator)
    first = prior.frame(cond, 4)
    assert torch.equal(first.rotation, prior.frame(cond, 4).rotation)
    kept = first.rotation.clone()
    cond.neg_()
    assert not torch.allclose(prior.frame(cond, 4).rotation, kept)
    fresh = Prior.create("learned-mean", covariance="lowrank", hidden=16, rank=3, components=2)
    fresh.load_state_dict(prior.state_dict())
    assert torch.allclose(prior.frame(cond, 4).rotation, fresh.frame(cond, 4).rotation, atol=1e-5)
    with torch.no_grad():
        for parameter in prior.residuals.spread.network.parameters():
            parameter.mul_(0.0)
    assert torch.allclose(prior.frame(cond, 4).rotation.abs().sum(2), torch.ones(4, 3), atol=1e-4)
