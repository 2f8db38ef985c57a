"""Generators that depend on seed, purpose and step alone."""

from __future__ import annotations

import itertools

import torch

from flowprior.training.batches import Randomness, mix


def test_the_same_generator_whenever_it_is_asked_for() -> None:
    first, second = Randomness(5), Randomness(5)
    torch.rand(100, generator=second.generator("time", 1))
    a = torch.rand(8, generator=first.generator("time", 7))
    assert torch.equal(a, torch.rand(8, generator=second.generator("time", 7)))


def test_seed_purpose_and_step_all_matter() -> None:
    keys = list(itertools.product((0, 1), ("time", "coupling"), (0, 1, 11)))
    assert len({mix(*key) for key in keys}) == len(keys)
    # Joined without a separator, seed 1 step 11 and seed 11 step 1 would collide.
    assert mix(1, "1", 1) != mix(11, "", 1)


def test_steps_are_uncorrelated() -> None:
    draws = torch.stack([torch.rand(256, generator=Randomness(0).generator("time", s)) for s in range(64)])
    correlation = torch.corrcoef(draws) - torch.eye(64)
    # 2,016 pairs with a standard error of 1/16 each: 0.32 is five of them.
    assert correlation.abs().max() < 0.32


def test_seeding_the_model_depends_on_the_step() -> None:
    with torch.random.fork_rng(devices=[]):
        draws = []
        for step in (3, 4, 3):
            Randomness(0).seed_model(step)
            draws.append(torch.rand(4))
    assert torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0], draws[1])
