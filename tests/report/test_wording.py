"""The report in words."""

from __future__ import annotations

import pytest

from flowprior.report.wording import (
    comma_list,
    data_size,
    duration,
    number,
    p_value,
    with_spread,
    worse_than_prior,
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


def test_flows_that_are_worse_than_their_prior_alone_are_named():
    loss = {"metric": "fid-x", "sampler": "euler", "variant": "a + ot", "nfe": [1.0, 2.0, 4.0]}
    found = {"samplers": ["euler"], "worse_than_prior": [loss]}
    start = "Worse than the prior alone (0 evaluations), by evaluations: "
    assert worse_than_prior(found, "fid-x") == f"{start}a + ot at 1, 2 and 4."
    assert worse_than_prior(found, "accuracy") == ""
    other = {**loss, "sampler": "heun", "variant": "b", "nfe": [2.0]}
    found = {"samplers": ["euler", "heun"], "worse_than_prior": [loss, other]}
    several = f"{start}a + ot by euler at 1, 2 and 4; b by heun at 2."
    assert worse_than_prior(found, "fid-x") == several
