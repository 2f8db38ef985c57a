"""Prior mean, prior samples, flow samples and data: blocks of images, or two clouds with crosses."""

from __future__ import annotations

import pytest
import torch

from flowprior.errors import InputError
from flowprior.pictures import stages

LABELS = torch.arange(3)
SIX = LABELS.repeat_interleave(2)


def test_images_stand_in_a_block_for_each_stage_and_a_row_for_each_class(show) -> None:
    def image(value: float, count: int) -> torch.Tensor:
        return torch.full((count, 1, 8, 8), value)

    means, source, samples, data = image(-1, 3), image(-0.5, 6), image(0.5, 6), image(1, 3)
    figure = stages((means, LABELS), (source, SIX), (samples, SIX), (data, LABELS), names=["a", "b", "c"])
    shown = show(figure)
    assert shown.words[:3] == ["a", "b", "c"]
    assert {"prior mean", "prior samples", "flow samples", "data"} <= {
        word.replace("\n", " ") for word in shown.words
    }
    levels = [int((shown.canvas == value).all(-1).sum()) for value in (0, 64, 191)]
    assert levels[1] == levels[2] == 2 * levels[0] > 1000


def test_without_data_three_stages_are_drawn(show) -> None:
    images = torch.zeros(3, 1, 8, 8)
    shown = show(stages(*[(images, LABELS)] * 3))
    assert "data" not in shown.words
    assert "flow samples" in {word.replace("\n", " ") for word in shown.words}


def test_points_have_the_means_as_crosses_on_the_prior_alone(generator: torch.Generator) -> None:
    means = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
    source, samples = (means[SIX] + torch.randn(6, 2, generator=generator) for _ in range(2))
    figure = stages((means, LABELS), (source, SIX), (samples, SIX), (samples, SIX))
    prior, flow = figure.axes
    assert [prior.get_title(), flow.get_title()] == ["prior: mean and samples", "flow samples"]
    crosses = {str(artist.get_label()): artist for artist in prior.collections}["prior mean"]
    assert torch.as_tensor(crosses.get_offsets().data).tolist() == means.tolist()  # type: ignore[union-attr]
    assert "prior mean" not in {artist.get_label() for artist in flow.collections}
    assert "real data" in {artist.get_label() for artist in flow.collections}
    assert prior.get_xlim() == flow.get_xlim()


def test_what_is_neither_image_nor_point_is_refused() -> None:
    with pytest.raises(InputError, match="picture: expected images"):
        stages(*[(torch.zeros(3, 5), LABELS)] * 3)
