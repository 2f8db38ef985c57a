"""Spread by a caption's distance from those trained on."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from benchmarks.studies import STUDIES, emoji_far
from benchmarks.studies.emoji_ablations import SPREAD
from flowprior.conditions import Condition
from flowprior.couplings import Coupling
from flowprior.data import TensorData
from flowprior.flow import Flow
from flowprior.paths import Path
from flowprior.priors import Prior
from flowprior.study.grid import load_grid


def test_distances_and_spreads_of_each_split_and_of_nonsense(generator):
    """A flow that stands still has its prior's spread, which grows with the distance."""
    codes = torch.nn.functional.normalize(torch.randn(80, 6, generator=generator))
    rows = codes.repeat_interleave(4, dim=0)
    x = (rows @ torch.randn(6, 12, generator=generator)).view(-1, 3, 2, 2)
    x = 0.2 * x + 0.02 * torch.randn(x.shape, generator=generator)
    near, far = codes[:20], 3 * torch.randn(20, 6, generator=generator)
    data = SimpleNamespace(
        train=TensorData(x, rows),
        test=TensorData(x[:80:4], near),
        references={"unseen": TensorData(x[:80:4], far)},
    )
    prior = Prior.create("kernel-mean").fit(data.train.batches(), generator=generator)
    parts = Coupling.create("condot"), Path.create("condot")
    flow = Flow(lambda x, t, cond: torch.zeros_like(x), prior, *parts, Condition("embeddings", 6))
    found = emoji_far.spread_by_distance(flow, SimpleNamespace(seed=0), data)
    distance = {row["split"]: row["value"] for row in found if row["metric"] == emoji_far.DISTANCE}
    assert list(distance) == ["test", "unseen", emoji_far.NONSENSE]
    assert distance["test"] == pytest.approx(0, abs=1e-3)
    assert distance["unseen"] == pytest.approx(torch.cdist(far, codes).amin(1).mean().item(), rel=1e-4)
    spread = {(row["split"], row["nfe"]): row["value"] for row in found if row["metric"] == SPREAD}
    assert len(spread) == 3 * len(emoji_far.NFES)
    assert spread["unseen", 15] > 2 * spread["test", 15]


def test_nonsense_has_the_length_of_captions_and_the_captions_asked_are_some_of_the_splits():
    known = 2 * torch.nn.functional.normalize(torch.randn(300, 8))
    random = emoji_far.random_directions(known, 0)
    assert random.shape == (emoji_far.CAPTIONS, 8)
    torch.testing.assert_close(random.norm(dim=1), torch.full((emoji_far.CAPTIONS,), 2.0))
    asked = emoji_far.some_captions(torch.cat([known, known]), 0)
    assert asked.shape == (emoji_far.CAPTIONS, 8)
    assert (asked[:, None] == known[None]).all(2).any(1).all()


def test_its_flows_are_those_of_the_study_of_captions():
    own, study = (load_grid(STUDIES / f"{name}.toml") for name in ("emoji_far", "emoji"))
    for name, variant in own.variants.items():
        assert variant == study.variants[name]
    for key in ("data", "model", "latent", "validation", "training", "evaluation_seed"):
        assert getattr(own, key) == getattr(study, key)
