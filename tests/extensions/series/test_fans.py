"""Fans of forecasts: bands at the quantiles of the members; how often the truth lies in intervals."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from flowprior.errors import InputError, OptionError
from flowprior.extensions.series.fans import fans
from flowprior.extensions.series.metrics import coverage
from tests.extensions.conftest import refused

MEMBERS = torch.arange(101.0)[None, :, None].expand(2, 101, 3)
"""At each of three hours, the numbers 0 to 100."""
NAME = "temperature, °F"


def test_bands_lie_between_the_quantiles_of_the_members() -> None:
    axes = fans({NAME: MEMBERS}).axes[0]
    bands: list[Any] = list(axes.collections)
    heights = [band.get_paths()[0].vertices[:, 1] for band in bands]
    ends = [end for height in heights for end in (height.min(), height.max())]
    assert ends == pytest.approx([5.0, 95.0, 25.0, 75.0])
    assert [band.get_label() for band in bands] == ["90 % of members", "50 % of members"]
    assert bands[0].get_alpha() < bands[1].get_alpha()
    (median,) = [line for line in axes.lines if line.get_label() == "median"]
    assert list(median.get_ydata()) == [50.0] * 3
    assert list(median.get_xdata()) == [1, 2, 3]


def test_what_was_measured_runs_from_the_hours_before_into_those_ahead() -> None:
    before, truth = torch.tensor([[7.0, 8.0], [0.0, 0.0]]), torch.tensor([[9.0, 10.0, 11.0], [0.0, 0.0, 0.0]])
    axes = fans({NAME: MEMBERS}, {NAME: truth}, {NAME: before}).axes[0]
    (measured,) = [line for line in axes.lines if line.get_label() == "measured"]
    assert list(measured.get_xdata()) == [-1, 0, 1, 2, 3]
    assert list(measured.get_ydata()) == [7.0, 8.0, 9.0, 10.0, 11.0]


def test_rows_are_quantities_with_their_unit_and_columns_windows(show) -> None:
    figure = fans({NAME: MEMBERS, "wind, mph": MEMBERS + 5}, windows=["$winter", "spring"])
    assert [axes.get_ylabel() for axes in figure.axes] == [NAME, "", "wind, mph", ""]
    assert [axes.get_title() for axes in figure.axes] == ["$winter", "spring", "", ""]
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "", "hours from now", "hours from now"]
    assert {"median", "90 % of members"} <= set(show(figure).words)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (({NAME: MEMBERS}, {NAME: torch.zeros(2, 4)}), r"truth \[2, 3\] of 'temperature, °F', got \[2, 4\]"),
        (({NAME: MEMBERS}, None, {NAME: torch.zeros(3, 4)}), r"before \[2, K\] of .*, got \[3, 4\]"),
        (({NAME: MEMBERS, "wind": torch.zeros(2, 3)},), r"members \[2, M, T\] of 'wind', got \[2, 3\]"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(given, message) -> None:
    with refused(message, InputError):
        fans(*given)


# -- how often members cover the truth ------------------------------------------------------------


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("members", [19, 20, 50])
@pytest.mark.parametrize("probability", [0.5, 0.9])
def test_intervals_of_members_of_the_true_law_cover_as_often_as_they_say(members, probability):
    """To within 1 %, three standard errors of 20,000 conditions, whatever the number of members."""
    found = coverage(normal(20000, members, 1), normal(20000, 1, seed=1), probability)
    assert float(found.mean()) == pytest.approx(probability, abs=0.01)


@pytest.mark.parametrize(("members", "probability"), [(18, 0.9), (2, 0.5), (50, 1.0), (50, -1.0)])
def test_intervals_that_members_do_not_tell_are_refused(members, probability):
    with pytest.raises(OptionError, match="coverage: expected "):
        coverage(normal(4, members, 1), normal(4, 1), probability)
