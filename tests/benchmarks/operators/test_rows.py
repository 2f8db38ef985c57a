"""The rows of the benchmarks: every declared way can be made, the fallback is one, turns are taken."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch

from benchmarks.operators import test_mixtures, test_paths, test_step
from benchmarks.operators.groups import FALLBACK, OURS, WHOLE, Group, around, take_turns
from benchmarks.operators.peers import MissingError, peer
from benchmarks.operators.problem import MIXTURES, PAIRS
from flowprior.ops.operators import is_native

GROUPS = [
    (test_mixtures.sample, MIXTURES[0]),
    (test_mixtures.log_prob, MIXTURES[0]),
    (test_mixtures.log_prob_all, MIXTURES[0]),
    (test_paths.loss, PAIRS[0]),
    (test_step.around_the_network, test_step.SPECS[0]),
    (test_step.around_the_network, test_step.SPECS[2]),
]


@pytest.mark.parametrize(("build", "size"), GROUPS)
def test_goals_are_those_of_other_ways_than_ours(build: Callable[..., Group], size: tuple[int, ...]):
    group = build(*size)
    assert tuple(group.makers)[:2] == OURS
    assert set(group.goals) <= set(group.makers) - set(OURS)


def test_packages_agree_with_the_operators():
    """Rows of a group do the same thing: what each returns is compared where it is not drawn."""
    logs = test_mixtures.log_prob_all(*MIXTURES[3])
    ours = logs.call(FALLBACK)()[0]
    theirs = torch.stack([torch.from_numpy(part) for part in logs.call("scikit-learn")()], 1)
    torch.testing.assert_close(ours, theirs.to(ours.dtype), rtol=1e-4, atol=1e-2)
    torch.testing.assert_close(logs.call("two products")(), ours, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("package", ["torchcfm", "flow_matching"])
def test_points_of_the_packages_are_ours(package: str):
    pytest.importorskip(package)
    points = test_paths.interpolation(*PAIRS[1])
    x_t, u_t, _ = points.call(WHOLE)()
    theirs = points.call(package)()
    at, velocity = theirs[1:] if package == "torchcfm" else (theirs.x_t, theirs.dx_t)
    torch.testing.assert_close(at, x_t)
    torch.testing.assert_close(velocity, u_t)


def test_the_fallback_is_pure_torch_and_ends_with_its_turn():
    device = torch.device("cpu")
    before = is_native(device)
    call = test_mixtures.sample(*MIXTURES[2]).call(FALLBACK)
    with around(FALLBACK):
        assert not is_native(device)
        assert "flowprior::gmm_sample" not in operators_of(call)
    assert is_native(device) == before
    assert ("flowprior::gmm_sample" in operators_of(call)) == before


def operators_of(call: Callable[[], object]) -> set[str]:
    """Names of the operators that torch's dispatcher sees in a call."""
    with torch.profiler.profile() as seen:
        call()
    return {event.name for event in seen.events() or []}


def test_all_ways_take_turns():
    order: list[str] = []
    calls = {name: lambda name=name: order.append(name) for name in "ab"}
    seconds = take_turns(calls, rounds=3)
    assert set(seconds) == {"a", "b"}
    assert "".join(dict.fromkeys(order)) == "ab"
    changes = sum(one != other for one, other in pairwise(order))
    assert changes == 5  # a b a b a b


def test_a_missing_package_is_named_by_the_line_that_installs_it():
    with pytest.raises(MissingError, match=r"pip install"):
        peer("no_such_package_as_this")
