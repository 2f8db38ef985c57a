"""The report in words."""

from __future__ import annotations

from typing import Any

import pytest

from flowprior.report.wording import (
    against,
    comma_list,
    convergence_sentence,
    data_size,
    duration,
    in_short,
    number,
    p_value,
    prior_sentence,
    with_spread,
)
from flowprior.report.wording import (
    test_note as note_on_tests,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (37.77, "37.8"),
        (0.34, "0.340"),
        (1234.5, "1,234"),
        (8.0, "8.00"),
        (2e-5, "2.00e-05"),
        (None, "–"),
    ],
)
def test_numbers_have_three_digits(value, text):
    assert number(value) == text


def test_a_deviation_has_the_decimals_of_its_mean():
    assert with_spread(20.1, 0.00079) == "20.1 ± 0.0"
    assert with_spread(0.977, 0.00707) == "0.977 ± 0.007"
    assert with_spread(37.77, 2.985) == "37.8 ± 3.0"
    assert with_spread(5.5, None) == "5.50"


def test_units():
    assert [data_size(n) for n in (536, 50836, 3_210_000, 4.2e9)] == ["536 B", "50.8 kB", "3.21 MB", "4.2 GB"]
    assert [duration(s) for s in (0.00158, 12.3, 7200)] == ["1.58 ms", "12.3 s", "120 min"]
    assert [comma_list(list(w)) for w in ("", "a", "ab", "abc")] == ["", "a", "a and b", "a, b and c"]
    assert [p_value(p) for p in (0.25, 0.03125, 1e-6)] == ["0.25", "0.031", "< 0.0001"]


def best(variant: str, nfe: int) -> dict[str, Any]:
    return {"metric": "fid-x", "sampler": "euler", "nfe": nfe, "variant": variant}


def summary(*rows: dict[str, Any], seeds: int = 3) -> dict[str, Any]:
    return {
        "metric": "fid-x",
        "baseline": "base",
        "metrics": {"fid-x": {"better": "lower"}},
        "best": list(rows),
        "grid": {"seeds": list(range(seeds))},
        "variants": [{"skipped": None}] * 3,
    }


def test_one_winner_and_several():
    every = "has the lowest fid-x at every number of evaluations."
    assert in_short(summary(best("a", 1), best("a", 4))) == f"a {every}"
    assert in_short(summary(best("base", 1), best("base", 2))) == f"base {every}"
    several = in_short(summary(best("a", 1), best("b", 2), best("base", 4)))
    assert several == "The lowest fid-x, by evaluations of the network: a at 1; b at 2; base at 4."


def test_what_the_tests_can_show_is_said_plainly():
    assert "nothing can be tested" in note_on_tests(summary(seeds=1))
    three, six = note_on_tests(summary(seeds=3)), note_on_tests(summary(seeds=6))
    assert "n = 3 seeds are too few for it: it cannot give less than p = 0.25" in three
    assert "too few" not in six
    assert "with n = 6 it can give p = 0.031 at the least" in six
    assert "The best of 3 is picked by the very values that are tested" in three


def test_each_comparison_states_n_and_p():
    one = {"ratio": None, "wins": 1, "n": 1, "p_sign_flip": None, "p_t": None}
    assert against({"against_baseline": one}, "lower") == "lower in 1 of 1 seed; one seed allows no test"
    three = {"ratio": 0.5, "wins": 2, "n": 3, "p_sign_flip": 0.25, "p_t": 0.012}
    assert against({"against_baseline": three}, "lower") == (
        "0.500 × the baseline, lower in 2 of 3 seeds; sign-flip test p = 0.25, paired t-test p = 0.012, n = 3"
    )
    assert against({"against_baseline": None}, "lower") == ""


def test_a_flow_that_is_worse_than_its_prior_alone_is_named():
    loss = {"metric": "fid-x", "sampler": "euler", "variant": "a + ot", "nfe": [1.0, 2.0, 4.0]}
    found = {"samplers": {"euler": "euler"}, "worse_than_prior": [loss]}
    start = "By fid-x this flow is worse than its own prior alone (0 evaluations), by evaluations: "
    assert prior_sentence(found, "fid-x") == f"{start}a + ot at 1, 2 and 4."
    assert prior_sentence(found, "accuracy") == ""
    other = {**loss, "sampler": "heun", "variant": "b", "nfe": [2.0]}
    found = {"samplers": {"euler": "euler", "heun": "heun"}, "worse_than_prior": [loss, other]}
    assert prior_sentence(found, "fid-x") == (
        "By fid-x these flows are worse than their own prior alone (0 evaluations), by evaluations: "
        "a + ot at 1, 2 and 4 (euler); b at 2 (heun)."
    )


def test_only_priors_and_nothing_at_all_are_told_apart():
    empty = {**summary(), "quality": []}
    assert in_short(empty) == "No run has a result yet."
    alone = {**summary(), "quality": [{"metric": "fid-x", "nfe": 0}]}
    assert in_short(alone) == "Only the priors alone were evaluated (NFE 0)."


def test_convergence_names_the_quickest():
    row = {"metric": "fid-x", "nfe": 4, "target": 12.0, "budget": 300}
    steps = {"base": 300, "a": 60, "b": 60, "c": 120, "d": None}
    goal = "base's final fid-x of 12.0 after 300 steps"
    assert convergence_sentence({**row, "steps": steps}, "base") == (
        f"a and b reached {goal} with 4 evaluations by step 60, 20 % of the budget."
    )
    none = convergence_sentence({**row, "steps": {"base": 300, "a": None}}, "base")
    assert none == f"No other variant reaches {goal} with 4 evaluations."
