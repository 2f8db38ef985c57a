"""Points of the plane: colours, legend, what is underneath and what part is seen."""

from __future__ import annotations

import pytest
import torch

from flowprior.errors import InputError
from flowprior.pictures import beside, points


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
