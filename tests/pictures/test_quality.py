"""Curves of quality: what is drawn, and the colours, markers and names of the lines."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from flowprior.errors import InputError, OptionError
from flowprior.pictures import quality
from flowprior.pictures.quality import MARKERS, legible_names, look

DISTANCES: dict[str, Any] = {
    "gaussian + condot": {0: [90.0, 94.0], 1: [30.0, 32.0], 4: [8.0, 10.0], 8: 6.0},
    "gmm:covariance=lowrank,rank=64 + ot": {0: 20.0, 1: 9.0, 4: 5.0, 8: 4.0},
}
SHARES: dict[str, Any] = {"a": {0: 0.02, 1: 0.5, 8: 0.99}, "b": {0: 0.9, 1: 0.98, 8: 0.99}}


def curves(figure: Figure) -> list[Any]:
    """The line of each setting, without its bars."""
    return [container.lines[0] for container in figure.axes[0].containers]  # type: ignore[attr-defined]


def test_both_axes_say_what_they_are_and_which_side_is_better() -> None:
    axes = quality(DISTANCES, "W2², squared pixels").axes[0]
    assert axes.get_ylabel() == "W2², squared pixels (lower is better)"
    assert axes.get_xlabel() == "NFE (0: the prior alone)"
    without = {name: {n: v for n, v in own.items() if n} for name, own in DISTANCES.items()}
    assert quality(without, "W2²").axes[0].get_xlabel() == "NFE, evaluations of the network"


def test_evaluations_stand_a_doubling_apart_and_distances_of_a_wide_range_on_a_logarithmic_axis() -> None:
    axes = quality(DISTANCES, "FID").axes[0]
    places = [axes.transData.transform((count, 10.0))[0] for count in (0, 1, 2, 4, 8)]
    gaps = [after - before for before, after in pairwise(places)]
    assert gaps == pytest.approx([gaps[0]] * 4)
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "1", "4", "8"]
    assert axes.get_yscale() == "log"
    assert quality({"a": {1: 3.0, 2: 2.0}}, "FID").axes[0].get_yscale() == "linear"
    assert quality(SHARES, "accuracy", better="higher").axes[0].get_yscale() == "linear"


def test_every_setting_has_a_marker_and_a_readable_name_of_its_own(show) -> None:
    assert len({line.get_marker() for line in curves(quality(DISTANCES))}) == 2
    words = show(quality(DISTANCES, real_data=3.0)).words
    assert {"gaussian + condot", "gmm + ot", "real data"} <= set(words)


def test_seeds_are_drawn_as_mean_and_one_standard_deviation() -> None:
    arrays = curves(quality({"a": {1: np.array([1.0, 3.0])}, "b": {1: torch.tensor([2.0, 6.0])}}))
    assert [line.get_ydata()[0] for line in arrays] == [2.0, 4.0]
    first, second = curves(quality(DISTANCES))
    assert list(first.get_ydata()) == [92.0, 31.0, 9.0, 6.0]
    assert list(second.get_ydata()) == [20.0, 9.0, 5.0, 4.0]
    bars = quality(DISTANCES).axes[0].containers[0].lines[2][0]  # type: ignore[attr-defined]
    ends = [segment[:, 1] for segment in bars.get_segments()]
    assert ends[0] == pytest.approx([92 - 8**0.5, 92 + 8**0.5])
    assert ends[3] == pytest.approx([6.0, 6.0])


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(InputError, match="one setting or more"):
        quality({})
    with pytest.raises(InputError, match="expected values of 'a'"):
        quality({"a": {}})
    with pytest.raises(OptionError, match="choose 'lower', 'higher'"):
        quality(SHARES, better="more")


def test_no_two_of_twelve_settings_have_one_marker_and_no_two_of_84_one_look() -> None:
    assert len({look(number)["marker"] for number in range(12)}) == len(MARKERS) == 12
    assert len({tuple(look(number).values()) for number in range(84)}) == 84


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["gmm:covariance=lowrank,rank=64 + ot", "gaussian + condot"], ["gmm + ot", "gaussian + condot"]),
        (["gmm + ot", "gmm:rank=16 + ot", "a:b=1"], ["gmm + ot", "gmm:rank=16 + ot", "a"]),
        (["euler:grid=last,at=0.7, 1.0", "euler:grid=last,at=0.7, 2.0"], ["euler, 1.0", "euler, 2.0"]),
        (["ours: W2² = 0.3", "default, scale", "$x$"], ["ours: W2² = 0.3", "default, scale", "$x$"]),
    ],
)
def test_names_lose_their_options_where_they_stay_unique(names: list[str], short: list[str]) -> None:
    assert list(legible_names(names).values()) == short
