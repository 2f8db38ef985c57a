"""The last results are found again for the same values, and for no others."""

from __future__ import annotations

import copy
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from flowprior import Coupling, Flow, Path, Prior
from flowprior.conditions import Condition
from flowprior.models import build_model
from flowprior.ops import last_results
from flowprior.ops.last_results import KEPT, LastResults
from flowprior.priors.conditional_spread import ConditionalSpread


class Multiples:
    """A tensor times a factor that is a parameter, and how often it was asked for."""

    def __init__(self) -> None:
        self.calls, self.last, self.factor = 0, LastResults(), torch.tensor(2.0)

    def __call__(self, x: Tensor) -> Tensor:
        def find(factor: Tensor) -> tuple[Tensor]:
            self.calls += 1
            return (factor * x,)

        return self.last.of(find, self.factor, values=(x,))[0]


def test_equal_values_are_found_again_wherever_they_lie_and_others_anew():
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


def test_a_few_results_are_kept_as_far_as_they_are_small(monkeypatch):
    multiples = Multiples()
    several = [torch.full((3,), float(k)) for k in range(KEPT + 1)]
    for x in several[:KEPT] * 2:
        multiples(x)
    assert multiples.calls == KEPT
    multiples(several[KEPT])
    multiples(several[0])
    assert multiples.calls == KEPT + 2
    monkeypatch.setattr(last_results, "MOST_BYTES", 10)
    multiples(torch.ones(5))
    multiples(torch.ones(5))
    assert multiples.calls == KEPT + 4


def test_where_a_gradient_may_be_asked_for_nothing_is_kept():
    multiples, x = Multiples(), torch.arange(6.0)
    multiples(x)
    asked = x.clone().requires_grad_()
    for _ in range(2):
        (gradient,) = torch.autograd.grad(multiples(asked).sum(), asked)
        assert torch.equal(gradient, torch.full((6,), 2.0))
    assert torch.equal(torch.func.jvp(multiples, (x,), (torch.ones(6),))[1], torch.full((6,), 2.0))
    assert torch.equal(torch.func.vmap(multiples)(x.view(2, 3)), 2 * x.view(2, 3))
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, torch.ones(6))
        assert torch.autograd.forward_ad.unpack_dual(multiples(dual)).tangent is not None
    factor = multiples.factor.requires_grad_()
    for _ in range(2):
        assert torch.autograd.grad(multiples(x).sum(), factor)[0] == x.sum()


def test_what_inference_mode_found_is_no_result_outside_of_it():
    multiples, x = Multiples(), torch.arange(3.0)
    with torch.inference_mode():
        inside = torch.arange(3.0)
        assert torch.equal(multiples(inside), multiples(inside.clone()))
        factor = torch.tensor(4.0)
        assert multiples.last.of(torch.sqrt, factor).item() == 2.0
        factor.mul_(4)
        assert multiples.last.of(torch.sqrt, factor).item() == 4.0
    assert not multiples(x).is_inference()


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


def test_a_copy_is_empty():
    multiples, x = Multiples(), torch.arange(6.0)
    multiples(x)
    for other in (copy.deepcopy(multiples), pickle.loads(pickle.dumps(multiples))):
        other(x)
        assert other.calls == 2


def test_a_table_is_found_once_until_its_source_is_replaced_or_written_to():
    last, var = LastResults(), torch.tensor([4.0, 9.0])
    assert last.of(torch.sqrt, var) is last.of(torch.sqrt, var)
    writes = (
        lambda: var.mul_(4),
        lambda: var.copy_(torch.full((2,), 16.0)),
        lambda: var.__setitem__(0, 25.0),
        lambda: torch._foreach_mul_([var], 2.0),
    )
    for write in writes:
        write()
        assert torch.equal(last.of(torch.sqrt, var), var.sqrt())
    for value in range(1, 50):
        other = torch.full((3,), float(value))  # mostly at the same place
        assert torch.equal(last.of(torch.sqrt, other), other.sqrt())


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


def test_a_low_rank_prior_answers_for_the_conditions_asked_for(prior, generator):
    """One after the other, in place, and after another fit."""
    cond = torch.randn(4, 3, generator=generator)
    first = prior.spread(cond, 4)
    assert torch.equal(first.axes.rotation, prior.spread(cond, 4).axes.rotation)
    kept = first.axes.rotation.clone()
    cond.neg_()
    assert not torch.allclose(prior.spread(cond, 4).axes.rotation, kept)
    fresh = Prior.create("learned-mean", covariance="lowrank", hidden=16, rank=3, components=2)
    fresh.load_state_dict(prior.state_dict())
    assert torch.allclose(prior.spread(cond, 4).axes.rotation, fresh.spread(cond, 4).axes.rotation, atol=1e-5)
    with torch.no_grad():
        for parameter in prior.residuals.spread.network.parameters():
            parameter.mul_(0.0)
    assert torch.allclose(prior.spread(cond, 4).axes.rotation.abs().sum(2), torch.ones(4, 3), atol=1e-4)
