"""The projector: a mapper that grows pictures of any size, and learns them as any mapper does."""

from __future__ import annotations

import pytest
import torch

from flowprior.conditions import Condition
from flowprior.errors import InputError, OptionError
from flowprior.priors import Prior
from flowprior.priors.mappers import Projector

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


def test_its_stated_size_is_its_size():
    network = Projector(Condition("embeddings", 384), torch.Size((3, 32, 32)), hidden=256, depth=2)
    assert round(sum(weight.numel() for weight in network.parameters()) / 1e6, 1) == 1.3


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
