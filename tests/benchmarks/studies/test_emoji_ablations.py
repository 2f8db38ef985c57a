"""The spread of pictures within a caption."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from benchmarks.studies import STUDIES, emoji_ablations
from flowprior.conditions import Condition
from flowprior.couplings import Coupling
from flowprior.data import TensorData
from flowprior.flow import Flow
from flowprior.paths import Path
from flowprior.priors import Prior
from flowprior.study.grid import load_grid


def test_the_spread_is_a_standard_deviation_about_the_groups_own_means(generator):
    groups = [
        3 + 0.5 * torch.randn(400, 3, 4, 4, generator=generator),
        torch.randn(400, 48, generator=generator),
    ]
    assert emoji_ablations.spread(groups) == pytest.approx(math.sqrt((0.25 + 1) / 2), rel=0.02)
    assert emoji_ablations.spread([torch.ones(4, 5)]) == 0


def test_flows_are_asked_for_captions_of_the_test_split_that_training_has_several_pictures_of(generator):
    """Two captions of three have two pictures; a flow that stands still has the spread of its prior."""
    codes = torch.eye(4)
    train = TensorData(torch.randn(5, 3, 4, 4, generator=generator), codes[[0, 0, 1, 1, 2]])
    test = TensorData(torch.randn(3, 3, 4, 4, generator=generator), codes[[0, 1, 2]])
    prior = Prior.create("learned-mean", sigma=0.3, holdout=0.0, epochs=1).fit(
        train.batches(), generator=generator
    )
    parts = Coupling.create("condot"), Path.create("condot")
    flow = Flow(lambda x, t, cond: torch.zeros_like(x), prior, *parts, Condition("embeddings", 4))
    found = emoji_ablations.spread_within_captions(
        flow, SimpleNamespace(seed=0), SimpleNamespace(train=train, test=test)
    )
    real, *others = found
    expected = emoji_ablations.spread([train.x[:2], train.x[2:4]])
    assert real["value"] == pytest.approx(expected)
    assert {row["samples"] for row in found} == {2 * emoji_ablations.EACH}
    assert [row["nfe"] for row in others] == list(emoji_ablations.NFES)
    for row in others:
        assert 0.2 < row["value"] < 0.35


def test_the_ablations_name_widths_and_mappers_at_one_temperature():
    grid = load_grid(STUDIES / "emoji_ablations.toml")
    priors = [parts["prior"] for parts in grid.variants.values()]
    assert sum(prior.startswith("learned-mean:sigma=") for prior in priors) == 8
    assert any("mapper=projector" in prior for prior in priors)
    assert list(grid.samplers.values()) == ["euler"]
