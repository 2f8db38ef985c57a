"""Log-densities over the plane: the values that the functions give, one scale, one part of the plane."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from flowprior.errors import InputError, OptionError
from flowprior.pictures import densities
from flowprior.pictures.points import DEPTH

AROUND = torch.tensor([[-2.0, -1.0], [2.0, 1.0], [0.0, 2.0]])


def gaussian(mean: tuple[float, float]):
    """log p of a standard normal around ``mean``."""
    return lambda x: -(x - torch.tensor(mean)).square().sum(1) / 2 - math.log(2 * math.pi)


def test_colours_are_the_log_density_where_they_stand() -> None:
    figure = densities({"prior": gaussian((0.0, 0.0)), "flow": gaussian((1.0, 0.5))}, AROUND, side=80)
    prior, flow = figure.axes[:2]
    assert [prior.get_title(), flow.get_title()] == ["prior", "flow"]
    for axes, mean in ((prior, (0.0, 0.0)), (flow, (1.0, 0.5))):
        image = axes.images[0]
        values = torch.as_tensor(image.get_array())
        left, right, bottom, top = image.get_extent()
        row, column = divmod(int(values.argmax()), 80)
        place = (left + (column + 0.5) / 80 * (right - left), bottom + (row + 0.5) / 80 * (top - bottom))
        assert place == pytest.approx(mean, abs=(right - left) / 80)
        assert (left, right) == pytest.approx(axes.get_xlim())


def test_panels_share_a_scale_that_is_named_with_its_unit() -> None:
    def high(x: Tensor) -> Tensor:
        return (gaussian((0.0, 0.0))(x) + 3).masked_fill(x[:, 0] < -1, float("-inf"))

    figure = densities({"low": gaussian((0.0, 0.0)), "high": high}, AROUND)
    low, top, scale = figure.axes
    assert scale.get_ylabel() == "log-density, nats"
    assert low.images[0].get_clim() == top.images[0].get_clim()
    least, most = top.images[0].get_clim()
    assert most - least == pytest.approx(DEPTH)
    assert most == pytest.approx(3 - math.log(2 * math.pi), abs=0.01)
    assert (torch.as_tensor(top.images[0].get_array())[:, :10] == least).all(), "no density there"


def test_what_is_no_density_is_refused() -> None:
    with pytest.raises(InputError, match=r"expected log p of 9 points \[9\] from 'p', got \[1\]"):
        densities({"p": lambda x: x.sum()[None]}, AROUND, side=3)
    with pytest.raises(InputError, match="expected points"):
        densities({"p": gaussian((0.0, 0.0))}, torch.zeros(3, 4))
    with pytest.raises(OptionError, match="side >= 2"):
        densities({"p": gaussian((0.0, 0.0))}, AROUND, side=1)
