"""Animations: frames from source to data, named by class and time, in a small file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from flowprior.errors import CheckpointError, OptionError
from flowprior.pictures import animate, save_animation
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
