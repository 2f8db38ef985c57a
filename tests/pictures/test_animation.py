"""Animations and figures of trajectories."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection
from PIL import Image, ImageSequence

from flowprior.errors import CheckpointError, InputError, OptionError
from flowprior.pictures import animate, save_animation, trajectories, trajectory_panels
from flowprior.pictures.trajectories import HELD, MOST_FRAMES, check_animation


def frames(path: Path) -> list[np.ndarray]:
    with Image.open(path) as image:
        return [np.asarray(frame.convert("L")).astype(int) for frame in ImageSequence.Iterator(image)]


def test_images_go_from_the_first_state_to_the_last_under_their_classes(tmp_path: Path) -> None:
    states = torch.linspace(-1, 1, 5).view(5, 1, 1, 1, 1).expand(5, 4, 1, 8, 8)
    labels = torch.tensor([0, 0, 1, 1])
    animation = animate(states, torch.linspace(0, 1, 5), labels, names=["cat", "dog"], title="toy")
    words = [text.get_text() for text in animation._fig.findobj() if hasattr(text, "get_text")]  # type: ignore[attr-defined]
    assert {"cat", "dog", "toy, t = 0.00"} <= set(words)
    save_animation(animation, tmp_path / "new" / "flow.gif")
    found = frames(tmp_path / "new" / "flow.gif")
    assert len(found) == 5
    middle = [frame[frame.shape[0] // 2 - 15, 60] for frame in found]
    assert middle[0] == 0
    assert middle[-1] == 255
    assert middle == sorted(middle)
    assert animation._fig.texts[-1].get_text() == "toy, t = 1.00"  # type: ignore[attr-defined]


def test_points_move_over_one_part_of_the_plane(generator: torch.Generator, tmp_path: Path) -> None:
    states = torch.randn(4, 20, 2, generator=generator) * torch.tensor([1.0, 2.0, 3.0, 4.0]).view(4, 1, 1)
    labels = torch.arange(20) % 2
    animation = animate(states, torch.linspace(0, 1, 4), labels, real=states[-1], names=["a", "b"])
    save_animation(animation, tmp_path / "points.gif")
    axes = animation._fig.axes[0]  # type: ignore[attr-defined]
    shown = {str(artist.get_label()): artist for artist in axes.collections}
    assert set(shown) == {"real data", "a", "b"}
    assert np.allclose(shown["b"].get_offsets(), states[-1][labels == 1])
    assert axes.get_xlim()[1] > float(states[-1, :, 0].max())


def test_many_states_become_few_frames_with_both_ends_held(tmp_path: Path) -> None:
    states = torch.linspace(-1, 1, 200).view(200, 1, 1, 1, 1).expand(200, 1, 1, 8, 8)
    for name in ("flow.gif", "again.gif"):
        save_animation(animate(states, torch.linspace(0, 1, 200)), tmp_path / name)
    assert (tmp_path / "flow.gif").read_bytes() == (tmp_path / "again.gif").read_bytes()
    with Image.open(tmp_path / "flow.gif") as image:
        lengths = [frame.info["duration"] for frame in ImageSequence.Iterator(image)]
    assert len(lengths) == MOST_FRAMES
    assert lengths[0] == lengths[-1] == (HELD + 1) * lengths[1], "the first and the last are held"


def test_what_cannot_be_written_is_one_line_before_anything_is_drawn(
    tmp_path: Path,
) -> None:
    with pytest.raises(OptionError, match=r"ends in \.gif"):
        check_animation("flow.webm")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match="cannot write"):
        save_animation(animate(torch.zeros(1, 1, 1, 8, 8), [0.0]), tmp_path / "file" / "flow.gif")


# -- trajectories ---------------------------------------------------------------------------------


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
