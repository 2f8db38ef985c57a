"""The projector: a mapper that grows pictures of any size, and learns them as any mapper does."""

from __future__ import annotations

import pytest
import torch

from flowprior.conditions import Condition
from flowprior.errors import InputError, OptionError
from flowprior.priors import Prior
from flowprior.priors.mappers import PictureMapper, Projector

SMALL = {"mapper": "projector", "hidden": 32, "depth": 1}


@pytest.mark.parametrize("event", [(3, 8, 8), (1, 5, 7), (4, 1, 2)])
@pytest.mark.parametrize("kind", ["labels", "embeddings"])
def test_it_gives_flat_events_which_begin_at_zero(event, kind, generator):
    network = Projector(Condition(kind, 6), torch.Size(event), hidden=32, depth=1)
    network.initialise(generator)
    cond = torch.arange(5) if kind == "labels" else torch.randn(5, 6, generator=generator)
    means = network(cond)
    assert means.shape == (5, event[0] * event[1] * event[2])
    assert not means.any()
    torch.nn.init.normal_(network.out.weight, generator=generator)
    assert float(network(cond).std(0).mean().detach()) > 0, "the condition is read"


def size_of(network: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def convolution(before: int, after: int) -> int:
    """The number of weights of a convolution of 3 × 3."""
    return 9 * before * after + after


def residual(channels: int) -> int:
    """The number of weights of a residual convolution, whose norm has two for each channel."""
    return convolution(channels, channels) + 2 * channels


def test_its_stated_size_is_its_size():
    network = Projector(Condition("embeddings", 384), torch.Size((3, 32, 32)), hidden=256, depth=2)
    assert round(size_of(network) / 1e6, 1) == 1.3


@pytest.mark.parametrize(
    ("hidden", "channels", "half", "quarter"), [(160, 40, 20, 8), (62, 12, 8, 8), (16, 8, 8, 8)]
)
@pytest.mark.parametrize("depth", [0, 2])
def test_its_channels_are_a_quarter_of_the_width_in_fours_and_eight_at_the_least(
    hidden, channels, half, quarter, depth
):
    network = Projector(Condition("embeddings", 6), torch.Size((3, 9, 4)), hidden, depth)
    grid = 3 * channels  # ⌈9/4⌉ × ⌈4/4⌉ places
    expected = hidden * grid + grid + depth * residual(channels)
    expected += convolution(channels, half) + residual(half) + convolution(half, quarter) + residual(quarter)
    assert size_of(network) - size_of(network.embed) == expected + 2 * quarter + convolution(quarter, 3)


@pytest.mark.parametrize(("hidden", "channels"), [(256, 16), (240, 12), (32, 8)])
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_of_pictures_the_channels_are_a_sixteenth_of_the_width(hidden, channels, depth):
    """At this size and, twice as many, at half of it; squares of 2 × 2 pixels are four channels."""
    twice = 2 * channels
    expected = convolution(4 * 2, channels) + convolution(channels, twice)
    expected += convolution(twice + channels, channels) + 2 * channels + convolution(channels, 4 * 3)
    expected += depth * (2 * residual(channels) + residual(twice))
    assert size_of(PictureMapper((2, 5, 7), (3, 9, 4), hidden, depth)) == expected
    assert round(size_of(PictureMapper((1, 28, 28), (1, 28, 28))), -3) == 27_000


@pytest.mark.parametrize("event", [(3, 8, 8), (1, 9, 6), (2, 2, 3)])
def test_of_pictures_each_size_has_its_own_shapes(event, generator):
    """Half the size in squares, a quarter below; edges are padded to multiples of four, and cut off."""
    network = PictureMapper((2, 5, 7), event, hidden=128)
    network.initialise(generator)
    assert not network(torch.rand(2, 70, generator=generator)).any()
    torch.nn.init.normal_(network.out.weight, generator=generator)
    seen = {}
    for name in ("first", "lowest", "norm"):
        hook = lambda module, _, out, name=name: seen.update({name: tuple(out.shape)})  # noqa: E731
        network.get_submodule(name).register_forward_hook(hook)
    means = network(torch.rand(2, 70, generator=generator))
    half = -(-event[1] // 4) * 2, -(-event[2] // 4) * 2
    assert seen["first"] == seen["norm"] == (2, 8, *half)
    assert seen["lowest"] == (2, 16, half[0] // 2, half[1] // 2)
    assert means.shape == (2, event[0] * event[1] * event[2])
    assert network(torch.rand(0, 70)).shape == (0, means.shape[1])


def test_it_learns_the_mean_of_pictures_and_travels(generator):
    """A bright spot whose place follows from the embedding."""
    place = torch.randint(4, (200, 2), generator=generator)
    cond = torch.nn.functional.one_hot(place, 4).flatten(1).float()
    x = torch.zeros(200, 1, 8, 8)
    for row, (i, j) in zip(x, place.tolist(), strict=True):
        row[0, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] = 1
    prior = Prior.create("learned-mean", **SMALL, sigma="scalar", epochs=25, lr=1e-2, batch_size=50)
    prior.fit((x, cond), generator=generator)
    assert float((prior.mean(cond) - x).square().mean()) < 0.4 * float(x.var())
    other = Prior.create("learned-mean", **SMALL)
    other.load_state_dict(prior.state_dict())
    assert torch.equal(other.log_prob(x, cond), prior.log_prob(x, cond))


def test_events_that_are_no_pictures_and_unknown_mappers_are_refused():
    with pytest.raises(InputError, match=r"expected events \[C, H, W\] for mapper='projector', got \[6\]"):
        Prior.create("learned-mean", **SMALL).fit((torch.zeros(20, 6), torch.arange(20) % 2))
    with pytest.raises(OptionError, match="mapper='cnn' is not possible"):
        Prior.create("learned-mean", mapper="cnn")
