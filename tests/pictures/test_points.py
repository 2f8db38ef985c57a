"""Figures of points and of densities."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from flowprior.errors import InputError, OptionError
from flowprior.pictures import beside, densities, points
from flowprior.pictures.points import DEPTH


def test_a_legend_names_the_classes_as_they_are(show, generator: torch.Generator) -> None:
    x = torch.randn(30, 2, generator=generator)
    shown = show(points(x, torch.arange(30) % 2, real=x, names=["$a", "b_c$"], title="$t$"))
    assert {"$a", "b_c$", "real data", "$t$"} <= set(shown.words)


def test_many_classes_and_embeddings_have_a_scale(show, generator: torch.Generator) -> None:
    x = torch.randn(60, 2, generator=generator)
    for cond in (torch.arange(60) % 20, torch.randn(60, 3, generator=generator)):
        shown = show(points(x, cond))
        assert "condition" in shown.words
        assert len(shown.figure.axes) == 2


def test_real_points_are_grey_underneath(show, generator: torch.Generator) -> None:
    samples, real = torch.randn(30, 2, generator=generator), 3 * torch.randn(300, 2, generator=generator)
    counts = []
    for options in ({}, {"real": real}, {"real": torch.tensor([[4.0, 4.0]])}):
        shown = show(points(samples, frame=real, **options))
        counts.append(int((shown.canvas == 204).all(-1).sum()))
    assert counts[1] > counts[2] + 100
    assert counts[2] > counts[0]


def test_panels_show_one_part_of_the_plane(show, generator: torch.Generator) -> None:
    near, far = torch.randn(2, 50, 2, generator=generator) * torch.tensor([1.0, 5.0]).view(2, 1, 1)
    shown = show(beside({"prior alone": (near, None), "flow": (far, None)}))
    first, second = shown.figure.axes
    assert first.get_xlim() == second.get_xlim()
    assert {"prior alone", "flow"} <= set(shown.words)
    low, high = first.get_xlim()
    assert low < far[:, 0].min() < far[:, 0].max() < high


def test_a_frame_decides_what_is_seen() -> None:
    figure = points(torch.tensor([[0.0, 0.0], [1e6, 0.0]]), frame=torch.tensor([[-1.0, -1.0], [1.0, 1.0]]))
    assert figure.axes[0].get_xlim() == pytest.approx((-1.16, 1.16))


@pytest.mark.parametrize("x", [torch.zeros(3, 2), torch.full((3, 2), float("nan")), torch.zeros(0, 2)])
def test_points_without_extent_are_drawn_without_a_warning(show, x: torch.Tensor, recwarn) -> None:
    show(points(x))
    assert not recwarn.list


def test_what_is_no_plane_is_refused() -> None:
    with pytest.raises(InputError, match="picture: expected"):
        beside({"": (torch.zeros(3, 5), None)})
    for x, options in (
        (torch.zeros(3, 3), {}),
        (torch.zeros(3, 2), {"real": torch.zeros(2)}),
        (torch.zeros(3, 2), {"frame": torch.zeros(2, 3)}),
    ):
        with pytest.raises(InputError, match="expected points"):
            points(x, **options)


# -- densities ------------------------------------------------------------------------------------


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
