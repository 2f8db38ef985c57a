"""The last results are found again for the same values, and for no others."""

from __future__ import annotations

import copy
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from flowprior import Coupling, Flow, Path, Prior
from flowprior.conditions import Condition
from flowprior.models import build_model
from flowprior.priors import last_results
from flowprior.priors.conditional_spread import ConditionalSpread
from flowprior.priors.last_results import KEPT, LastResults


class Multiples:
    """A tensor times a factor that is a parameter, and how often it was asked for."""

    def __init__(self) -> None:
        self.calls, self.last, self.factor = 0, LastResults(), torch.tensor(2.0)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        def find() -> tuple[torch.Tensor]:
            self.calls += 1
            return (self.factor * x,)

        return self.last.get(x, (self.factor,), find)[0]


def test_equal_values_are_found_again_and_others_or_changed_parameters_anew():
    multiples, x = Multiples(), torch.arange(6.0)
    assert torch.equal(multiples(x), multiples(x.clone()))
    assert multiples.calls == 1
    x.data.neg_()  # which no version counts
    assert torch.equal(multiples(x), 2 * x)
    multiples.factor.mul_(2)
    assert torch.equal(multiples(x), 4 * x)
    assert torch.equal(multiples(x.double()), 4 * x.double())
    with torch.autocast("cpu", torch.bfloat16):
        multiples(x)
    assert multiples.calls == 5


def test_a_few_results_are_kept_and_neither_older_nor_large_ones_nor_those_of_a_copy(monkeypatch):
    multiples = Multiples()
    several = [torch.full((3,), float(k)) for k in range(KEPT + 1)]
    for x in [*several[:KEPT], *several[:KEPT], several[KEPT], several[0]]:
        multiples(x)
    assert multiples.calls == KEPT + 2
    for other in (copy.deepcopy(multiples), pickle.loads(pickle.dumps(multiples))):
        other(several[0])
        assert other.calls == KEPT + 3
    monkeypatch.setattr(last_results, "MOST_NUMBERS", 3)
    for _ in range(2):
        multiples(torch.arange(5.0))
    assert multiples.calls == KEPT + 4


def test_where_a_gradient_may_be_asked_for_or_values_are_transformed_nothing_is_kept():
    multiples, x = Multiples(), torch.arange(6.0)
    multiples(x)
    asked = x.clone().requires_grad_()
    for _ in range(2):
        (gradient,) = torch.autograd.grad(multiples(asked).sum(), asked)
        assert torch.equal(gradient, torch.full((6,), 2.0))
    assert torch.equal(torch.func.jvp(multiples, (x,), (torch.ones(6),))[1], torch.full((6,), 2.0))
    assert torch.equal(torch.func.vmap(multiples)(x.view(2, 3)), 2 * x.view(2, 3))
    with torch.inference_mode():
        assert torch.equal(multiples(x.clone()), 2 * x)


def test_threads_never_get_each_others_results():
    multiples, before = Multiples(), sys.getswitchinterval()
    several = [torch.full((50,), float(k)) for k in range(KEPT + 3)]

    def work(k: int) -> bool:
        return all(torch.equal(multiples(several[(k + n) % 7]), 2 * several[(k + n) % 7]) for n in range(500))

    try:
        sys.setswitchinterval(1e-6)
        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(work, range(4)))
    finally:
        sys.setswitchinterval(before)


@pytest.fixture
def prior(generator) -> Prior:
    cond = torch.randn(300, 3, generator=generator)
    x = cond @ torch.randn(3, 5, generator=generator) + torch.randn(300, 5, generator=generator)
    options = {"covariance": "lowrank", "hidden": 16, "rank": 3, "steps": 30, "components": 2}
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


def test_the_axes_are_found_anew_for_conditions_and_weights_that_were_changed_in_place(prior, generator):
    cond = torch.randn(4, 3, generator=generator)
    kept = prior.spread(cond, 4).axes.rotation.clone()
    cond.neg_()
    assert not torch.allclose(prior.spread(cond, 4).axes.rotation, kept)
    with torch.no_grad():
        for parameter in prior.residuals.spread.network.parameters():
            parameter.mul_(0.0)
    assert torch.allclose(prior.spread(cond, 4).axes.rotation.abs().sum(2), torch.ones(4, 3), atol=1e-4)
