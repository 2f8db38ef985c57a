"""The rows of the benchmarks and their last tables: every declared way can be made, turns are taken."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from benchmarks.operators import test_mixtures, test_paths, test_step
from benchmarks.operators.comparison import closing_tables, comparisons, whole_steps
from benchmarks.operators.groups import FALLBACK, NATIVE, OURS, WHOLE, Group, around, take_turns
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


# -- the last tables of a run ---------------------------------------------------------------------


def row(group: str, way: str, median: float, **info: object) -> dict:
    return {"group": group, "median": median, "extra_info": {"way": way, **info}}


def test_ratios_are_those_of_the_turns_where_there_are_any():
    in_turn = {NATIVE: 2.0, "eager": 10.0}
    rows = [row("op", NATIVE, 0.002, milliseconds=in_turn, bandwidth=0.5), row("op", "eager", 0.5)]
    (found,) = comparisons(rows)
    assert found.ratio == {"eager": 5.0}


def test_ratios_are_those_of_the_rows_otherwise():
    rows = [row("fit", WHOLE, 2.0), row("fit", "scikit-learn float64", 7.0)]
    (found,) = comparisons(rows)
    assert found.ratio == {"scikit-learn float64": 3.5}
    assert comparisons([{**rows[0], "stats": {"median": 2.0}}, rows[1]])[0].ratio == found.ratio


def test_the_fallback_is_ours_where_nothing_is_native():
    (found,) = comparisons([row("op", FALLBACK, 1.0), row("op", "eager", 0.5)])
    assert (found.ours, found.ratio) == (FALLBACK, {"eager": 0.5})


def test_what_stands_alone_is_compared_with_nothing():
    assert comparisons([row("network", "compact U-Net", 0.2), row("fit", WHOLE, 1.0)]) == []
    assert closing_tables([]) == []


def test_what_lies_around_the_network_has_its_goals_and_the_networks_share(tmp_path: Path):
    """A goal that is met has a bold ratio, one that is missed is bold itself."""
    file = tmp_path / "steps.json"
    left, ratio = {WHOLE: 0.5, "torchcfm": 2.0, "flow_matching": 0.8}, {"torchcfm": 4.0, "flow_matching": 1.6}
    goal = {"torchcfm": 2.0, "flow_matching": 2.0}
    info = {"milliseconds": left, "ratio": ratio, "goal": goal, "network_milliseconds": 5.25}
    whole = {WHOLE: 6.0, "torchcfm": 9.0}
    rows = [
        row("around the network in a step of 64", WHOLE, 1.0, **info),
        row("a whole step of 64", WHOLE, 1.0, milliseconds=whole, ratio={"torchcfm": 1.5}, goal={}),
    ]
    report = {"machine_info": {"cpu": {"brand_raw": "Some CPU"}}, "benchmarks": rows}
    file.write_text(json.dumps(report), encoding="utf-8")
    found = whole_steps(file)
    assert (
        "| a step of 64 | 500 | 5.25 | torchcfm **4.0** (2), flow_matching 1.6 (**2**) |" in found["around"]
    )
    assert "| a whole step of 64 | 6.00 | torchcfm 1.5 |" in found["whole"]
    assert whole_steps(tmp_path / "none.json") == {}
