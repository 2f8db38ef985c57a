"""Memorisation: scikit-learn's neighbours, copies, a known ratio, streaming, what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from flowprior.errors import InputError, OptionError
from flowprior.metrics import Metric, memorisation_ratio
from flowprior.metrics.memorisation import copied_share, near_duplicates, nearest, pooled


def test_distances_are_those_of_scikit_learn(generator: torch.Generator) -> None:
    training = torch.randn(300, 2, 5, generator=generator)
    x = torch.randn(40, 2, 5, generator=generator)
    peer = NearestNeighbors(n_neighbors=1, algorithm="kd_tree").fit(training.double().flatten(1).numpy())
    expected = torch.from_numpy(peer.kneighbors(x.double().flatten(1).numpy())[0][:, 0])
    torch.testing.assert_close(nearest(x, [training]).distance, expected, rtol=1e-9, atol=0)
    parts = nearest(x, training.split(37))
    torch.testing.assert_close(parts.distance, expected, rtol=1e-9, atol=0)
    places = peer.kneighbors(x.double().flatten(1).numpy())[1][:, 0]
    assert parts.place.tolist() == places.tolist()


def test_copies_score_zero_and_fresh_draws_one(generator: torch.Generator) -> None:
    training, held_out, fresh = torch.randn(3, 2000, 3, generator=generator).unbind()
    assert memorisation_ratio(training[:100], held_out, [training]) == 0
    assert memorisation_ratio(fresh, held_out, [training]) == pytest.approx(1, abs=0.05)
    half = torch.cat([training[:1000], fresh[:1000]])
    assert memorisation_ratio(half, held_out, [training]) == pytest.approx(0.5, abs=0.05)


def test_far_from_the_origin_keeps_its_digits(generator: torch.Generator) -> None:
    training = torch.randn(50, 4, generator=generator, dtype=torch.float64)
    near = nearest(training[:5] + 1e-3, [training]).distance
    far = nearest(training[:5] + 1e4 + 1e-3, [training + 1e4]).distance
    torch.testing.assert_close(near, far, rtol=1e-4, atol=0)


def test_near_duplicates_are_within_a_third_of_the_median() -> None:
    held_out = torch.tensor([0.5, 3.0, 3.0, 3.0, 9.0])
    assert near_duplicates(torch.tensor([0.0, 1.0, 1.1]), held_out).tolist() == [True, True, False]
    assert near_duplicates(torch.tensor([0.0, 0.1]), torch.zeros(3)).tolist() == [True, False]


def test_held_out_data_that_are_near_duplicates_excuse_no_sample() -> None:
    """The ratio is to the distance 4 of those three that are none."""
    training, held_out = torch.tensor([[0.0], [100]]), torch.tensor([[4.0], [96], [104], [1], [99]])
    assert memorisation_ratio(torch.tensor([[2.0], [98]]), held_out, [training]) == 0.5


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: nearest(x, [torch.zeros(4, 3)]), r"expected neighbours like \[2\], got \[3\]"),
        (lambda x: nearest(x, []), "at least one neighbour"),
        (lambda x: memorisation_ratio(x + 1, x, [x]), "held-out data lie in the training data"),
        (lambda x: pooled(x, 4), r"side=4 is for images \[C, H, W\], got events \[2\]; leave side out"),
        (lambda x: Metric.create("memorisation", side=0), "side=0 is not possible"),
    ],
)
def test_impossible_calls_are_refused(call: Callable[[torch.Tensor], object], words: str) -> None:
    with pytest.raises((InputError, OptionError), match=words):
        call(torch.zeros(3, 2))


def test_larger_pictures_are_compared_as_means_of_areas(generator: torch.Generator) -> None:
    x = torch.randn(3, 2, 8, 8, generator=generator)
    torch.testing.assert_close(pooled(x, 4), x.unflatten(2, (4, 2)).unflatten(4, (4, 2)).mean((3, 5)))
    assert pooled(x[..., :3], 4).shape == (3, 2, 4, 3)  # a side that is small enough stays
    assert torch.equal(pooled(x, 8), x)
    assert torch.equal(pooled(x, 9), x)


def share_of(x: torch.Tensor, training: torch.Tensor, held_out: torch.Tensor) -> tuple[float, float]:
    return copied_share(nearest(x, [training]), nearest(x, [held_out]), len(training), len(held_out))


def curve(count: int, noise: float, generator: torch.Generator) -> torch.Tensor:
    """Points about a circle that lies in 4 dimensions."""
    angle = 6.283 * torch.rand(count, 1, generator=generator)
    circle = torch.cat([angle.cos(), angle.sin(), torch.zeros(count, 2)], 1)
    return circle + noise * torch.randn(count, 4, generator=generator)


def test_fresh_samples_are_no_copies_and_copies_are_counted(generator: torch.Generator) -> None:
    training, held_out, fresh = (curve(count, 0.1, generator) for count in (2000, 1000, 3000))
    assert share_of(fresh, training, held_out)[0] == pytest.approx(0, abs=0.1)
    assert share_of(training, training, held_out)[0] == 1
    half = torch.cat([fresh[:2000], training])
    assert share_of(half, training, held_out)[0] == pytest.approx(0.5, abs=0.1)


def test_blur_lowers_the_distances_but_is_no_copy(generator: torch.Generator) -> None:
    training, held_out = curve(3000, 0.3, generator), curve(3000, 0.3, generator)
    blurred = curve(3000, 0.0, generator)
    assert memorisation_ratio(blurred, held_out, [training]) < 0.8
    assert share_of(blurred, training, held_out)[0] == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("noise", [0.3, 0.0])
def test_the_standard_error_of_copies_is_how_much_they_vary_over_data(
    noise: float, generator: torch.Generator
) -> None:
    """Of blurred samples, several of which have one nearest example, as of others."""
    found = [
        share_of(curve(400, noise, generator), *(curve(count, 0.3, generator) for count in (300, 100)))
        for _ in range(150)
    ]
    values, errors = torch.tensor(found).unbind(1)
    assert abs(values.mean()) < 3 * values.std() / 150**0.5
    assert errors.mean() == pytest.approx(values.std().item(), rel=0.25)
