"""Settings told apart: markers, colours, and names without what they share."""

from __future__ import annotations

import pytest

from flowprior.pictures.quality import MARKERS, look, short_names


def test_no_two_of_twelve_settings_have_one_marker_and_no_two_of_84_one_look() -> None:
    assert len({look(number)["marker"] for number in range(12)}) == len(MARKERS) == 12
    assert len({tuple(look(number).values()) for number in range(84)}) == 84


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["gmm:covariance=lowrank,rank=64 + ot", "gaussian + condot"], ["gmm + ot", "gaussian + condot"]),
        (
            ["gmm:rank=64,tied=true + ot", "gmm:rank=8,tied=true + ot"],
            ["gmm:rank=64 + ot", "gmm:rank=8 + ot"],
        ),
        (["gmm + ot", "gmm:rank=16 + ot"], ["gmm + ot", "gmm:rank=16 + ot"]),
        (["a:x=1,y=2", "a:y=2"], ["a:x=1", "a"]),
        (["a:x=1,y=2", "a:y=2,x=1"], ["a:x=1,y=2", "a:y=2,x=1"]),
        (["flow:rank=2,kind=spline + posterior"], ["flow + posterior"]),
        (["euler:grid=last,at=0.7, 1.0", "euler:grid=last,at=0.7, 2.0"], ["euler, 1.0", "euler, 2.0"]),
        (["ours: W2² = 0.3", "default, scale", "$x$"], ["ours: W2² = 0.3", "default, scale", "$x$"]),
        (["same", "same"], ["same", "same"]),
    ],
)
def test_names_keep_only_the_options_that_tell_them_apart(names: list[str], short: list[str]) -> None:
    found = short_names(names)
    assert [found[name] for name in names] == short
