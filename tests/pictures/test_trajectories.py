"""Trajectories: a line from ring to dot for each point, a strip along t for each image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from matplotlib.collections import LineCollection

from flowprior.errors import InputError
from flowprior.pictures import animate, trajectories, trajectory_panels


@pytest.fixture
def states(generator: torch.Generator) -> torch.Tensor:
    """Five points at six times."""
    return torch.randn(6, 5, 2, generator=generator)


TIMES = torch.linspace(0, 1, 6)
LABELS = torch.tensor([1, 0, 1, 0, 0])


def test_each_point_has_a_line_through_all_its_states_in_the_colour_of_its_class(states) -> None:
    axes = trajectories(states, TIMES, LABELS).axes[0]
    lines: list[Any] = [artist for artist in axes.collections if isinstance(artist, LineCollection)]
    drawn = [torch.as_tensor(path) for artist in lines for path in artist.get_segments()]
    expected = states.double().transpose(0, 1)[[1, 3, 4, 0, 2]]
    assert torch.allclose(torch.stack(drawn), expected)
    dots: dict[str, Any] = {str(artist.get_label()): artist for artist in axes.collections}
    for number, label in enumerate(("0", "1")):
        assert lines[number].get_colors()[0][:3].tolist() == dots[label].get_facecolor()[0][:3].tolist()


def test_source_samples_are_rings_and_samples_dots(states) -> None:
    axes = trajectories(states, TIMES, real=states[-1] + 5).axes[0]
    dots: dict[str, Any] = {str(artist.get_label()): artist for artist in axes.collections}
    assert torch.allclose(torch.as_tensor(dots["source"].get_offsets().data), states[0].double())
    assert len(dots["source"].get_facecolor()) == 0
    assert torch.allclose(torch.as_tensor(dots["samples"].get_offsets().data), states[-1].double())
    assert axes.get_xlim()[1] > float(states[-1, :, 0].max()) + 5


def test_panels_show_several_flows_over_one_part_of_the_plane(show, states) -> None:
    figure = trajectory_panels({"ours": (states, LABELS), "theirs": (3 * states, LABELS)}, names=["a", "b"])
    first, second = figure.axes
    assert first.get_xlim() == second.get_xlim()
    assert {"ours", "theirs", "a", "b", "source"} <= set(show(figure).words)


def test_images_are_strips_along_t_with_a_row_a_sample_in_the_order_of_the_classes(show) -> None:
    values = torch.tensor([0.9, -0.9, 0.5, -0.5, 0.0])
    states = (torch.linspace(0, 1, 6)[:, None] * values).view(6, 5, 1, 1, 1).expand(6, 5, 1, 8, 8)
    shown = show(trajectories(states, TIMES, LABELS, names=["no", "yes"]))
    times = [f"t = {time:.2g}" for time in TIMES]
    assert shown.words == ["no", "no", "no", "yes", "yes", *times]
    column = shown.canvas[:, -10, 0]
    levels = [round((value + 1) * 127.5) for value in (-0.9, -0.5, 0.0, 0.9, 0.5)]
    found = [int(value) for value in column if value in levels]
    assert list(dict.fromkeys(found)) == levels


@pytest.mark.parametrize("draw", [trajectories, animate])
def test_states_without_an_image_and_other_times_are_refused(draw: Callable[..., Any], states) -> None:
    for shape in ((6, 5, 3), (6, 5, 7, 8, 8), (6, 5)):
        with pytest.raises(InputError, match="picture: expected images"):
            draw(torch.zeros(shape), TIMES)
    with pytest.raises(InputError, match="got 6 states and 2 times"):
        draw(states, [0.0, 1.0])
